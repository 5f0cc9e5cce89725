/**
 * One sidecar process: the agent, and beside it Heddle's own proxy in this process or Envoy as a
 * child. Ends in order on SIGTERM and SIGINT: not ready, drain, close.
 */
import {
  openAgent,
  parseSocketAddress,
  type Agent,
  type AgentOptions,
  type MeshName,
  type ServedDataPlane,
} from "../../agent/agent.ts";
import { DatagramCapture } from "../../agent/datagram-capture.ts";
import { envoyLinesArea, startEnvoy } from "../../agent/envoy.ts";
import { openLogFiles, type LogFiles } from "../../agent/log-files.ts";
import { startDnsServer, type DnsServer } from "../../agent/dns.ts";
import { systemClock, type Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import { settleMemory, type SettlingPlane } from "./settle-memory.ts";
import { expireIdleSeries } from "../idle-series.ts";
import { workerEntry } from "../worker-entry.ts";
import { shownBootstrap } from "./shown-bootstrap.ts";
import { proxyDnsAddress, type SidecarOptions } from "../../base/sidecar-options.ts";
import type { Dialler } from "../../net/dialler.ts";
import { loopUtilization } from "../../net/loop-utilization.ts";
import { createDnsResolver } from "../../net/dns-resolver.ts";
import { createPortableDialler } from "../../net/portable-dialler.ts";
import type { Resolver } from "../../net/resolver.ts";
import { createLog, type Log } from "../../telemetry/log.ts";
import {
  createSharedMetricRegistry,
  type SharedMetricRegistry,
} from "../../telemetry/metric-registry.ts";

export interface SidecarRun {
  readonly sidecar: SidecarOptions;
  readonly version: string;
  /** Resolves when the process is asked to end. */
  readonly stopAsked: Promise<void>;
  /** Descriptor of the line to the process that keeps the listening sockets. */
  readonly keeperLine?: number;
}

/** The data plane, and how it ends. */
interface RunningPlane extends ServedDataPlane, SettlingPlane {
  /** Resolves when the first complete configuration serves. */
  readonly ready: Promise<void>;
  drain(): Promise<void>;
  close(): Promise<void>;
}

interface Parts {
  readonly sidecar: SidecarOptions;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: SharedMetricRegistry;
  readonly files: LogFiles;
}

/** Requests in flight have this long to end; Istio's default. */
const drainMs = 5000;

/** Resolves when everything has ended; rejects when it could not start. */
export async function runSidecar(run: SidecarRun): Promise<void> {
  const { sidecar, version, stopAsked } = run;
  const clock = systemClock;
  const metrics = createSharedMetricRegistry();
  const files = openLogFiles(clock, metrics);
  const log = createLog({
    level: sidecar.logLevel,
    format: sidecar.logFormat,
    clock,
    sink: files.openText("/dev/stderr"),
  });
  const parts: Parts = { sidecar, version, clock, log, metrics, files };
  let agent: Agent | undefined;
  let plane: RunningPlane | undefined;
  let dns: DnsServer | undefined;
  try {
    const tellKeeper = await joinKeeper(run, log);
    const names = new LatestNames();
    agent = openAgent({ ...agentOptions(parts), onNames: (table) => names.update(table) });
    dns = await startDns(parts);
    if (dns !== undefined) names.tell(dns);
    plane = await (sidecar.dataPlane === "envoy"
      ? startEnvoyPlane(parts, agent)
      : startHeddlePlane(parts, agent));
    await agent.serve(plane);
    void plane.ready.then(tellKeeper);
    expireIdleSeries(clock, metrics);
    settleMemory(clock, log, plane);
    const { name, namespace } = sidecar.instance;
    log.info("sidecar started", {
      instance: `${name}.${namespace}`,
      dataPlane: sidecar.dataPlane,
      version,
    });
    await stopAsked;
    log.info("sidecar draining", { drainMs });
    agent.startDraining();
    await withinDrain(clock, plane.drain());
    log.info("sidecar stopped");
  } finally {
    await plane?.close();
    await dns?.close();
    await agent?.close();
    await files.close();
  }
}

/** What is to be called when all sockets are open. Without a keeper the sidecar serves as well. */
async function joinKeeper({ keeperLine }: SidecarRun, log: Log): Promise<() => void> {
  if (keeperLine === undefined) return () => {};
  const { joinSocketKeeper } = await import("../../net/kept-sockets.ts");
  try {
    return joinSocketKeeper(keeperLine, log, "every-socket").tellReady;
  } catch (thrown) {
    log.warn("listening sockets are not kept", { reason: messageOf(thrown) });
    return () => {};
  }
}

function agentOptions({ sidecar, clock, log, metrics }: Parts): AgentOptions {
  return { sidecar, clock, log, metrics, random: Math.random };
}

/** The name table may come, from disk, before the server that answers from it. */
class LatestNames {
  #table: ReadonlyMap<string, MeshName> = new Map();
  #server: DnsServer | undefined;

  update(table: ReadonlyMap<string, MeshName>): void {
    this.#table = table;
    this.#server?.update(table);
  }

  tell(server: DnsServer): void {
    this.#server = server;
    server.update(this.#table);
  }
}

/** Only captured workloads ask their sidecar for names. */
async function startDns(parts: Parts): Promise<DnsServer | undefined> {
  const { sidecar, clock, log, metrics } = parts;
  if (sidecar.capture !== "transparent") return undefined;
  const { dnsUpstream, nodeId, instance, ports } = sidecar;
  return await startDnsServer({
    addresses: ["127.0.0.1", "::1"],
    proxyAddress: proxyDnsAddress,
    port: ports.dns,
    scope: { namespace: instance.namespace, domain: nodeId.split(".svc.")[1] ?? "cluster.local" },
    upstream: dnsUpstream === undefined ? undefined : parseSocketAddress(dnsUpstream),
    dialler: dnsDialler(parts),
    clock,
    log: log.area("dns"),
    metrics,
  });
}

async function startEnvoyPlane(parts: Parts, agent: Agent): Promise<RunningPlane> {
  const { sidecar, clock, log, metrics } = parts;
  log.setLevel("debug", envoyLinesArea);
  const envoy = await startEnvoy({ sidecar, agent, clock, log, metrics });
  return {
    notReady: () => envoy.notReady(),
    exposeMetrics: () => envoy.exposeMetrics(),
    admin: envoy.admin,
    // Its own sockets are not ours to keep.
    ready: Promise.resolve(),
    settle: () => {},
    utilization: loopUtilization(),
    drain: () => envoy.drain(),
    close: () => envoy.close(drainMs),
  };
}

/** Loaded only where it is used: beside Envoy the proxy's code would be memory for nothing. */
async function startHeddlePlane(parts: Parts, agent: Agent): Promise<RunningPlane> {
  const { sidecar, version, clock, log, metrics, files } = parts;
  const [{ startProxy }, { openOverload }] = await Promise.all([
    import("../../proxy/proxy.ts"),
    import("../overload.ts"),
  ]);
  const { socketMark, nodeId, accessLogFile, io = "auto", concurrency = 0 } = sidecar;
  const proxy = startProxy({
    feed: agent.feed,
    secrets: agent.secrets,
    clock,
    log,
    metrics,
    random: Math.random,
    peers: agent.peers,
    openLog: (path) => files.open(path === "/dev/stdout" ? accessLogFile : path),
    reopenLogs: () => files.reopen(),
    ...(socketMark === undefined ? {} : { socketMark }),
    ...(sidecar.capture === "transparent"
      ? { datagramCapture: new DatagramCapture(log.area("capture")) }
      : {}),
    io,
    workers: { count: concurrency, entry: workerEntry(), metrics },
    ...resolverOf(parts),
    bootstrap: { kind: "dynamic", json: shownBootstrap(sidecar) },
    overload: openOverload(),
    nodeId,
    environment: { ...process.env },
    nodeCluster: `${sidecar.instance.workload}.${sidecar.instance.namespace}`,
    version,
  });
  const ownUtilization = loopUtilization();
  return {
    notReady: () => proxy.notReady(),
    exposeMetrics: () => proxy.exposeMetrics(),
    // Those of data workers have to be added up first.
    ...(concurrency === 0 ? { metricPieces: () => metrics.exposePieces() } : {}),
    exposeProtobuf: () => proxy.exposeProtobuf(),
    admin: proxy.admin,
    ready: proxy.ready,
    settle: () => proxy.workers?.settle(),
    utilization: () => Math.max(ownUtilization(), proxy.workers?.utilization() ?? 0),
    drain: () => proxy.drain(),
    async close() {
      await proxy.close();
    },
  };
}

/**
 * In a namespace the machine's resolver names servers that may be out of reach. A captured workload's
 * proxy asks beside itself, as Envoy does, and so knows the mesh's names.
 */
function resolverOf(parts: Parts): { readonly resolver?: Resolver } {
  const { capture, dnsUpstream, ports } = parts.sidecar;
  if (dnsUpstream === undefined) return {};
  const upstream =
    capture === "transparent"
      ? { address: proxyDnsAddress, port: ports.dns }
      : parseSocketAddress(dnsUpstream);
  return {
    resolver: createDnsResolver({ upstream, dialler: dnsDialler(parts), clock: parts.clock }),
  };
}

function dnsDialler({ sidecar: { socketMark }, clock, log }: Parts): Dialler {
  return createPortableDialler({
    clock,
    log: log.area("dns"),
    ...(socketMark === undefined ? {} : { mark: socketMark }),
  });
}

function withinDrain(clock: Clock, drained: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const limit = clock.schedule(drainMs, resolve);
  void drained.finally(() => {
    limit.cancel();
    resolve();
  });
  return promise;
}
