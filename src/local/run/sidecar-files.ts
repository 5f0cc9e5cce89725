/** The private directory of one sidecar: its options, its bearer token, its socket. */
import { createHash } from "node:crypto";
import { join } from "node:path";

import type { SidecarOptions } from "../../base/sidecar-options.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { Place, Placement } from "../placement.ts";
import { clusterDomain, type InstancePlan } from "../plan.ts";
import type { SupervisorOptions } from "../supervisor-options.ts";
import { makePrivateDirectory, replaceFile } from "./replace-file.ts";

/** What all sidecars of a mesh have in common. */
export interface SidecarSettings {
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly dataPlane: "heddle" | "envoy";
  readonly envoyBinary: string | undefined;
  readonly control: SocketAddress;
  readonly rootFile: string;
  readonly dnsUpstream: string | undefined;
  readonly accessLogFile: string;
  readonly serving: SupervisorOptions["serving"];
  readonly logLevel: SidecarOptions["logLevel"];
  readonly logFormat: SidecarOptions["logFormat"];
}

export interface SidecarFiles {
  readonly directory: string;
  readonly optionsFile: string;
  readonly adminSocket: string;
}

/** A Unix socket's path has at most 107 bytes; `admin.sock` and a spare name must fit below it. */
const directoryBytesMax = 88;

/** `i/<instance>.<namespace>`, or a short digest of it where the path would be too long for sockets. */
/** Of a whole mesh; `rootFile` is the mesh's root certificate. */
export function sidecarSettings(
  options: SupervisorOptions,
  placement: Placement,
  rootFile: string,
): SidecarSettings {
  return {
    stateDir: options.stateDir,
    trustDomain: options.trustDomain,
    dataPlane: options.dataPlane,
    envoyBinary: options.envoyBinary,
    control: placement.control,
    rootFile,
    dnsUpstream: placement.dnsUpstream,
    accessLogFile: "-",
    serving: options.serving,
    logLevel: options.logLevel,
    logFormat: options.logFormat,
  };
}

export function instanceDirectory(stateDir: string, plan: InstancePlan): string {
  const name = `${plan.name}.${plan.spec.namespace}`;
  const directory = join(stateDir, "i", name);
  if (Buffer.byteLength(directory) <= directoryBytesMax) return directory;
  return join(stateDir, "i", createHash("sha256").update(name).digest("hex").slice(0, 12));
}

export function writeSidecarFiles(sidecar: {
  readonly plan: InstancePlan;
  readonly place: Place;
  readonly token: string;
  readonly settings: SidecarSettings;
}): SidecarFiles {
  const { plan, settings } = sidecar;
  const directory = instanceDirectory(settings.stateDir, plan);
  makePrivateDirectory(directory);
  const tokenFile = join(directory, "token");
  const optionsFile = join(directory, "options.json");
  replaceFile(tokenFile, sidecar.token);
  const options = sidecarOptions(sidecar, { directory, tokenFile });
  replaceFile(optionsFile, JSON.stringify(options, undefined, 2));
  return { directory, optionsFile, adminSocket: join(directory, "admin.sock") };
}

function sidecarOptions(
  { plan, place, settings }: Omit<Parameters<typeof writeSidecarFiles>[0], "token">,
  paths: { readonly directory: string; readonly tokenFile: string },
): SidecarOptions {
  const { spec } = plan;
  const kind = plan.role === "gateway" ? "router" : "sidecar";
  const { namespace } = spec;
  const address = place.addresses[0] ?? "127.0.0.1";
  const domain = `${namespace}.svc.${clusterDomain}`;
  const { envoyBinary, dnsUpstream } = settings;
  return {
    nodeId: `${kind}~${address}~${plan.name}.${namespace}~${domain}`,
    instance: {
      name: plan.name,
      workload: spec.name,
      namespace,
      serviceAccount: spec.serviceAccount,
      labels: spec.labels,
    },
    dataPlane: settings.dataPlane,
    ...(envoyBinary === undefined ? {} : { envoyBinary }),
    control: {
      address: formatSocketAddress(settings.control),
      rootFile: settings.rootFile,
      tokenFile: paths.tokenFile,
    },
    stateDir: paths.directory,
    capture: place.capture,
    ...settings.serving,
    ...(place.socketMark === undefined ? {} : { socketMark: place.socketMark }),
    ports: place.sidecarPorts,
    statusAddress: place.statusAddress,
    ...applicationMetrics(plan, place),
    ...(dnsUpstream === undefined ? {} : { dnsUpstream }),
    trustDomain: settings.trustDomain,
    accessLogFile: settings.accessLogFile,
    logLevel: settings.logLevel,
    logFormat: settings.logFormat,
  };
}

function applicationMetrics(
  plan: InstancePlan,
  place: Place,
): Pick<SidecarOptions, "applicationMetricsUrl"> {
  const metrics = plan.role === "workload" ? plan.spec.metrics : undefined;
  if (metrics === undefined) return {};
  const placed = place.ports.find((one) => one.port === metrics.port);
  const port = placed?.appPort ?? metrics.port;
  return { applicationMetricsUrl: `http://127.0.0.1:${port}${metrics.path}` };
}
