/**
 * Starts a mesh from a directory: reads what to run, takes the lease, finds out what the machine
 * allows, opens the host's ports and hands everything to a supervisor, inside namespaces or, where
 * there are none to be had, in this process.
 */
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";

import type { Clock } from "../base/clock.ts";
import { HeddleError } from "../base/error.ts";
import type { Problem } from "../base/problem.ts";
import type { PortProtocol } from "../model/workload.ts";
import { consoleUrl, openConsoleToken, urlOf } from "./console-token.ts";
import { takeLease } from "./lease.ts";
import { gatewayPortKey, type MeshFile } from "./mesh-file.ts";
import { startExplicitMesh } from "./outer/explicit-mesh.ts";
import type { HostListener } from "./outer/host-listener.ts";
import { openHostListener } from "./outer/host-listener.ts";
import type { MeshProcess } from "./outer/namespaced-mesh.ts";
import { startNamespacedMesh } from "./outer/namespaced-mesh.ts";
import { probeMachine } from "./probe.ts";
import { findMeshFile, readUsableMeshFile } from "./run/mesh-source.ts";
import { makePrivateDirectory } from "./run/replace-file.ts";
import { openStateDirectory } from "./state-directory.ts";
import type { SupervisorOptions } from "./supervisor-options.ts";

export interface StartOptions {
  /** Holds `heddle.yaml` or a Compose file; or is the path of one. */
  readonly directory: string;
  readonly mode: "auto" | "namespaces" | "explicit";
  readonly dataPlane: "heddle" | "envoy";
  readonly envoyBinary?: string;
  /** Folder of one mesh; by default the mesh's name below `stateRoot`. */
  readonly stateDir?: string;
  readonly stateRoot: string;
  readonly uid: number;
  readonly heddle: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Of every sidecar and gateway. */
  readonly serving?: SupervisorOptions["serving"];
  readonly logLevel: SupervisorOptions["logLevel"];
  readonly logFormat: SupervisorOptions["logFormat"];
  readonly certificateTtlMs?: number;
  readonly clock: Clock;
  readonly onStep: (text: string) => void;
  readonly onProblems: (problems: readonly Problem[]) => void;
}

export interface RunningMesh {
  readonly mesh: string;
  readonly mode: "namespaces" | "explicit";
  readonly stateDir: string;
  /** With the token that opens it. */
  readonly consoleUrl: string;
  /** With `https` and `tcp` where a port is declared to carry them. */
  readonly gatewayUrls: readonly string[];
  /** Of the supervisor's process, or of `unshare` before it. */
  readonly pid: number;
  /** What is not ready when waiting longer changes nothing, a sentence each. */
  readonly ready: Promise<readonly string[]>;
  /** Everything is ready, which may be later. */
  readonly allReady: Promise<void>;
  /** Resolves with a sentence when it has ended by itself or was stopped. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

const dayMs = 24 * 60 * 60 * 1000;
const stopMaxMs = 10_000;

/** Resolves when the supervisor runs; rejects with one sentence, leaving nothing behind. */
export async function startMesh(options: StartOptions): Promise<RunningMesh> {
  const meshFile = findMeshFile(options.directory);
  const file = usable(meshFile, options.onProblems);
  const stateDir = options.stateDir ?? join(options.stateRoot, file.mesh);
  openStateDirectory(stateDir);
  const lease = takeLease(stateDir, dirname(meshFile));
  try {
    cleanStale(stateDir);
    const mesh = await startSupervised(options, { meshFile, file, stateDir });
    return {
      ...mesh,
      async stop() {
        await mesh.stop();
        lease[Symbol.dispose]();
      },
    };
  } catch (thrown) {
    lease[Symbol.dispose]();
    throw thrown;
  }
}

/** The folder of the mesh that a directory (or mesh file) describes. */
export function stateDirOf(directory: string, stateRoot: string): string {
  return join(stateRoot, usable(findMeshFile(directory), () => {}).mesh);
}

/** Whether a folder says what to run. */
export function holdsMeshFile(directory: string): boolean {
  try {
    findMeshFile(directory);
    return true;
  } catch {
    return false; // The sentence that was thrown is for those who named the folder.
  }
}

function usable(meshFile: string, onProblems: StartOptions["onProblems"]): MeshFile {
  const { file, problems } = readUsableMeshFile(meshFile);
  onProblems(problems);
  return file;
}

// What a mesh that was killed left: sockets nobody listens on, and empty mount points.
function cleanStale(stateDir: string): void {
  makePrivateDirectory(join(stateDir, "logs"));
  for (const name of ["api.sock", "xds.sock"]) rmSync(join(stateDir, name), { force: true });
}

interface Found {
  readonly meshFile: string;
  readonly file: MeshFile;
  readonly stateDir: string;
}

async function startSupervised(options: StartOptions, found: Found): Promise<RunningMesh> {
  const { file, meshFile, stateDir } = found;
  const network = await chooseNetwork(options, stateDir, dirname(meshFile));
  const [console, ...gateways] = await openHostPorts(file);
  if (console === undefined) throw new HeddleError("local.host-port", "the console has no port");
  const token = openConsoleToken(stateDir);
  const supervisor = {
    mesh: file.mesh,
    meshFile,
    directory: dirname(meshFile),
    stateDir,
    trustDomain: file.trustDomain,
    dataPlane: options.dataPlane,
    ...(options.envoyBinary === undefined ? {} : { envoyBinary: options.envoyBinary }),
    serving: options.serving ?? {},
    logLevel: options.logLevel,
    logFormat: options.logFormat,
    certificateTtlMs: options.certificateTtlMs ?? dayMs,
    heddle: options.heddle,
    environment: options.environment,
    network: network ?? { mtu: 1500, hasIpv6: false, firewall: "nft", hidden: [] },
  } as const;
  const common = { supervisor, console, gateways, onStep: options.onStep };
  const process: MeshProcess =
    network === undefined
      ? await startExplicitMesh({ ...common, clock: options.clock })
      : startNamespacedMesh({ ...common, uid: options.uid });
  const protocols = file.gateways.flatMap(({ ports }) => ports.map(({ protocol }) => protocol));
  return {
    mesh: file.mesh,
    mode: network === undefined ? "explicit" : "namespaces",
    stateDir,
    consoleUrl: consoleUrl(console.address, token),
    gatewayUrls: gateways.map(({ address }, at) => urlOf(address, schemeOf(protocols[at]))),
    pid: process.pid,
    ready: process.readiness.first,
    allReady: process.readiness.all,
    ended: process.ended,
    stop: async () => await process.stop(stopMaxMs),
  };
}

/** Undefined: explicit mode, with the sentence that says why. */
async function chooseNetwork(
  options: StartOptions,
  stateDir: string,
  directory: string,
): Promise<SupervisorOptions["network"] | undefined> {
  if (options.mode === "explicit") return undefined;
  // Other meshes of the user are hidden as well, where they lie in the usual place.
  const hidden = [options.stateRoot, stateDir];
  const path = options.environment["PATH"] ?? "";
  const probe = await probeMachine({ uid: options.uid, directory, path, hidden });
  if (probe.kind === "namespaces") return probe.network;
  if (options.mode === "namespaces") {
    throw new HeddleError(
      "local.namespaces",
      `network namespaces are not to be had: ${probe.reason}`,
    );
  }
  options.onStep(`explicit mode, without network namespaces: ${probe.reason}`);
  return undefined;
}

function schemeOf(protocol: PortProtocol | undefined): "http" | "https" | "tcp" {
  if (protocol === "tls" || protocol === "https") return "https";
  return protocol === "tcp" ? "tcp" : "http";
}

async function openHostPorts(file: MeshFile): Promise<readonly HostListener[]> {
  const opened: HostListener[] = [];
  const address = file.hostAddress;
  try {
    const port = file.consolePort;
    const place = file.places.consolePort;
    opened.push(await openHostListener("the console", { address, port, place }));
    for (const gateway of file.gateways) {
      for (const port of gateway.ports) {
        const what = `gateway ${gateway.name}`;
        const key = gatewayPortKey(gateway, port.port);
        const wanted = { address, port: port.hostPort, place: port.position };
        opened.push(await openHostListener(what, wanted, key));
      }
    }
    return opened;
  } catch (thrown) {
    for (const { server } of opened) server.close();
    throw thrown;
  }
}
