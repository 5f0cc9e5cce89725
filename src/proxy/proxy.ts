/**
 * The data plane, put together: configuration from a feed, clusters, listeners, HTTP and TCP, their
 * reports, and the admin interface over all of it. Everything else in this area knows only its own
 * part and the interfaces of `context.ts`.
 */
import v8 from "node:v8";

import type { Clock } from "../base/clock.ts";
import { type IoBackend, type IoChoice, openAcceptingIo, openIo } from "../net/io-backend.ts";
import { createRacingDialler } from "../net/racing-dialler.ts";
import { type Resolver, systemResolver } from "../net/resolver.ts";
import type { SecretSource } from "../net/secret-source.ts";
import type { Log } from "../telemetry/log.ts";
import type { OwnedMetricRegistry, SharedMetricRegistry } from "../telemetry/metric-registry.ts";
import type { PeerDirectory } from "../telemetry/standard-metrics.ts";
import type { XdsFeed } from "../xds/feed.ts";
import { type AdminHandler, type AdminState, createAdmin, type ProxyBootstrap } from "./admin.ts";
import { daysUntilFirstExpiry } from "./admin/certificates.ts";
import { type EndpointLoad, loadsOf } from "./admin/clusters.ts";
import type { ClusterPool } from "./cluster.ts";
import type { SharedLimits } from "./cluster/limits.ts";
import type { HealthNews, HealthReport } from "./cluster/cluster-health.ts";
import { composeClusters } from "./cluster/composition.ts";
import type { Ejection } from "./cluster/ejections.ts";
import { Configuration, type ConfigurationOptions, type RefusedResourceFields } from "./config.ts";
import { Extensions } from "./config/extensions.ts";
import { ownNodeOf } from "./istio/own-node.ts";
import { SharedBuckets } from "./engine/shared-buckets.ts";
import { bucketWatch } from "./stats/bucket-watch.ts";
import type { BucketMemory } from "./engine/token-bucket.ts";
import type { DatagramCapture, ListenerSet, ProxyContext } from "./context.ts";
import { Drain, type DrainPlan, type DrainState, endingPlan } from "./drain.ts";
import { closeUpstreams, finishReports } from "./http.ts";
import { InternalDialler } from "./internal.ts";
import { createListenerSet } from "./listener.ts";
import type { Overload, OverloadFlags, ProxyOverload } from "./overload.ts";
import { makeOverload } from "./overload/compose.ts";
import { createSinkCompiler, type SinkOptions } from "./stats.ts";
import { serverSeries } from "./stats/server-series.ts";
import { Tap, type TapAnswer } from "./stats/tap.ts";
import { DataWorkers } from "./workers/data-workers.ts";
import type { WatchLimits } from "./workers/worker-watch.ts";
import type { NodeOptions } from "./workers/worker-node.ts";

/** Istio's `terminationDrainDuration`. */
const drainMs = 5000;

/** What is not told of the node is nothing. */
export interface ProxyOptions extends NodeOptions {
  readonly feed: XdsFeed;
  readonly secrets: SecretSource;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: OwnedMetricRegistry;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Resolves certificate subjects to labels. */
  readonly peers: PeerDirectory;
  readonly openLog: SinkOptions["openLog"];
  /** Files that were rotated are opened again. */
  readonly reopenLogs?: () => void;
  /** SO_MARK of every connection the proxy opens. */
  readonly socketMark?: number;
  /** Listeners of UDP that are not bound are not served unless told. */
  readonly datagramCapture?: DatagramCapture | undefined;
  /** Who does the I/O; `portable` unless told. */
  readonly io?: IoChoice;
  /** Threads that serve connections; this thread itself unless told. They need the epoll backend. */
  readonly workers?: WorkerOptions;
  /** Instead of one that `io` chooses. */
  readonly backend?: IoBackend;
  /** Of a worker: what another thread finds short. */
  readonly overloadFlags?: OverloadFlags;
  /** It is one of the threads: what is counted once for a process is counted elsewhere. */
  readonly isWorker?: boolean;
  /** What it counts together with other threads. */
  readonly sharedLimits?: SharedLimits;
  readonly buckets?: BucketMemory;
  /** What it is to tell other threads. */
  readonly onEjected?: (ejection: Ejection) => void;
  readonly onHealthNews?: (news: HealthNews) => void;
  readonly resolver?: Resolver;
  readonly version: string;
  /** What is given up when memory runs short; nothing unless told. */
  readonly overload?: ProxyOverload;
  /** Shown by the admin interface. */
  readonly bootstrap?: ProxyBootstrap;
}

export interface WorkerOptions {
  readonly count: number;
  /** The file that a worker runs: `workers/worker-main.ts`, or what a bundle made of it. */
  readonly entry: URL;
  /** The same as the proxy's own. */
  readonly metrics: SharedMetricRegistry;
  /** How long one may be silent. */
  readonly watch?: WatchLimits;
}

export interface Proxy {
  /** Why it cannot serve yet, in one sentence; undefined when it can. */
  notReady(): string | undefined;
  /** Resolves when the first complete configuration serves. */
  readonly ready: Promise<void>;
  /** Prometheus text. */
  exposeMetrics(): Promise<string> | string;
  /** Prometheus's protobuf, with native histograms. */
  exposeProtobuf(): Promise<Uint8Array> | Uint8Array;
  /** Of this thread's own connections. */
  loads(): readonly EndpointLoad[];
  /** What another thread has told. */
  eject(ejection: Ejection): void;
  /** What the thread that checks endpoints has found. */
  takeHealth(report: HealthReport): void;
  /** As an operator says: answers of an unhealthy one end their connections. */
  setHealthy(isHealthy: boolean): void;
  /** Single requests that this thread served. Throws what is wrong with the query. */
  tap(query: string): TapAnswer;
  /** Resets this thread's connections that have at least so much to send, those with the most first. */
  resetSlowest(fromBytes: number, countMax: number): void;
  /** Its data workers, which give up what only their start needed, and tell how busy they are. */
  readonly workers: Pick<DataWorkers, "settle" | "utilization"> | undefined;
  readonly admin: AdminHandler;
  /** Addresses that are listened on, by listener. */
  listeners(): ReturnType<ListenerSet["bound"]>;
  /** What was refused, by resource: `name: field: reason`. */
  refusals(): readonly string[];
  /** The same, with the places in each resource. */
  refusedFields(): readonly RefusedResourceFields[];
  /**
   * Ends connections after their answers, and new ones by the plan: within five seconds unless told.
   * Resolves when none is left.
   */
  drain(plan?: DrainPlan): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
}

export function startProxy(options: ProxyOptions): Proxy {
  enableLinearRegex();
  const { clock, log, metrics, secrets } = options;
  const overload = makeOverload(
    options,
    (...asked) => {
      listeners.resetSlowest(...asked);
      workers?.resetSlowest(...asked);
    },
    () => workers,
  );
  const overloadFlags = overload?.flags ?? options.overloadFlags;
  const workers = openWorkers(options, overloadFlags);
  const opened = openedIo(options, workers?.io);
  const clusters = composeClusters(options, { workers, dialler: opened.dialler });
  const draining = new Drain(clock, options.random);
  const context = makeContext(options, opened, {
    clusters,
    routes: { get: (name) => configuration.get(name) },
    drain: draining,
    ...(overloadFlags === undefined ? {} : { overload: overloadFlags }),
  });
  const listeners = createListenerSet({ context, secrets });
  const feed = workers?.feed ?? options.feed;
  const configuration = makeConfiguration(options, { ...context, feed, clusters, listeners });
  const drain = (plan: DrainPlan = endingPlan(drainMs)): Promise<void> => {
    draining.begin(plan);
    return drainAll(plan, listeners, workers);
  };
  const setHealthy = (isHealthy: boolean): void => {
    draining.setHealthy(isHealthy);
    workers?.setHealthy(isHealthy);
  };
  const waitingFor = () => configuration.waitingFor ?? workers?.waitingFor;
  const exposeMetrics = () => workers?.exposeMetrics() ?? metrics.expose();
  const ready = readinessOf(configuration, workers, log);
  workers?.start(configuration, clusters);
  configuration.start();
  overload?.start();
  return {
    notReady: () => (draining.isDraining ? "draining" : waitingFor()),
    ready,
    loads: () => loadsOf(clusters.active()),
    eject: (ejection) => clusters.eject(ejection),
    takeHealth: (report) => clusters.takeHealth(report),
    setHealthy,
    tap: (query) => context.tap.read(query),
    resetSlowest: (...asked) => listeners.resetSlowest(...asked),
    workers,
    exposeMetrics,
    exposeProtobuf: () => workers?.exposeProtobuf() ?? metrics.exposeProtobuf(),
    admin: adminOf(options, {
      configuration,
      clusters,
      workers,
      exposeMetrics,
      tap: (query) => workers?.tap(query) ?? context.tap.read(query),
      waitingFor,
      listeners: () => listeners.bound(),
      isDraining: () => draining.isDraining,
      drain: (plan) => void drain(plan),
      setHealthy,
    }),
    listeners: () => listeners.bound(),
    refusals: () => configuration.refusals(),
    refusedFields: () => configuration.refusedFields(),
    drain,
    close: () => closeAll({ overload, configuration, workers, clusters, listeners, context }),
  };
}

/** The process, told once for all its threads. */
function watchServer(
  { isWorker, metrics, version, secrets, workers }: ProxyOptions,
  configuration: Configuration,
  drain: DrainState | undefined,
): void {
  if (isWorker === true) return;
  const { refresh } = serverSeries(metrics, {
    version,
    concurrency: Math.max(1, workers?.count ?? 0),
    state: () =>
      drain?.isDraining === true ? "draining" : configuration.isReady ? "live" : "initializing",
    daysUntilFirstExpiry: () => daysUntilFirstExpiry(secrets, configuration.secretNames()),
  });
  metrics.onExpose(refresh);
}

interface Closing {
  readonly overload: Overload | undefined;
  readonly configuration: Configuration;
  readonly workers: DataWorkers | undefined;
  readonly clusters: ClusterPool;
  readonly listeners: ListenerSet;
  readonly context: ProxyContext;
}

async function closeAll(parts: Closing): Promise<void> {
  parts.overload?.close();
  parts.configuration.close();
  await parts.workers?.close();
  await parts.listeners.close();
  await finishReports(parts.context);
  parts.clusters.close();
  closeUpstreams(parts.context);
}

function makeConfiguration(
  options: ProxyOptions,
  parts: Pick<ConfigurationOptions, "feed" | "clusters" | "listeners" | "extensions"> &
    Pick<ProxyContext, "drain">,
): Configuration {
  const { secrets, clock, log, metrics, isWorker } = options;
  const configuration = new Configuration({
    ...parts,
    secrets,
    // The control thread accepts it first.
    isChecked: isWorker === true,
    clock,
    log: log.area("xds"),
    metrics,
  });
  metrics.onExpose(() => configuration.refreshSeries());
  watchServer(options, configuration, parts.drain);
  return configuration;
}

async function drainAll(
  plan: DrainPlan,
  listeners: ListenerSet,
  workers: DataWorkers | undefined,
): Promise<void> {
  if (workers === undefined) return await listeners.drain(plan);
  // Those that serve say when nobody comes any more; then there is nothing to wait for here.
  await workers.drain(plan);
  await listeners.drain({ ...plan, acceptMs: 0 });
}

function readinessOf(
  configuration: Configuration,
  workers: DataWorkers | undefined,
  log: Log,
): Promise<void> {
  return new Promise<void>((resolve) => {
    configuration.onReady = () =>
      void Promise.resolve(workers?.ready).then(() => {
        log.info("the first complete configuration serves");
        resolve();
      });
  });
}

type AdminParts = Pick<
  AdminState,
  | "configuration"
  | "clusters"
  | "exposeMetrics"
  | "tap"
  | "waitingFor"
  | "listeners"
  | "isDraining"
  | "drain"
  | "setHealthy"
> & { readonly workers: DataWorkers | undefined };

function adminOf(options: ProxyOptions, { workers, ...parts }: AdminParts): AdminHandler {
  const { clock, secrets, log, version, nodeId, bootstrap, reopenLogs } = options;
  const startedMs = clock.monotonicMs();
  return createAdmin({
    ...parts,
    secrets,
    log,
    version,
    nodeId,
    bootstrap,
    reopenLogs,
    // The one way to end: whoever runs the proxy listens for it.
    quit: () => process.kill(process.pid, "SIGTERM"),
    uptimeMs: () => clock.monotonicMs() - startedMs,
    loads: () => workers?.loads() ?? loadsOf(parts.clusters.active()),
    setLogLevel: (level, area) => {
      log.setLevel(level, area);
      workers?.setLogLevel(level, area);
    },
  });
}

/** Undefined where none are wanted, or none can be: then this thread serves. */
function openWorkers(
  options: ProxyOptions,
  overloadFlags: OverloadFlags | undefined,
): DataWorkers | undefined {
  const { workers, clock, log, socketMark, resolver = systemResolver } = options;
  if (workers === undefined || workers.count < 1) return undefined;
  const io = openAcceptingIo(clock, log.area("io"));
  return io === undefined
    ? undefined
    : new DataWorkers({ ...options, ...workers, resolver, io, socketMark, overloadFlags });
}

interface OpenedIo {
  readonly io: IoBackend;
  readonly dialler: InternalDialler;
  /** What is accepted goes to workers. */
  readonly isServedElsewhere: boolean;
}

function openedIo(options: ProxyOptions, accepting: IoBackend | undefined): OpenedIo {
  const { backend, io: choice = "portable", clock, log, socketMark } = options;
  const io = backend ?? accepting ?? openIo(choice, clock, log.area("io"));
  const outside = io.createDialler({
    log: log.area("upstream"),
    ...(socketMark === undefined ? {} : { mark: socketMark }),
  });
  const { internalBufferBytes: bufferBytesMax } = options;
  const inside = { clock, log: log.area("internal"), turnEnd: io.turnEnd, bufferBytesMax };
  const racing = createRacingDialler(outside, clock, inside.log);
  const isServedElsewhere = accepting !== undefined;
  return { io, dialler: new InternalDialler(racing, inside), isServedElsewhere };
}

function datagramsOf(options: ProxyOptions): NonNullable<ProxyContext["datagrams"]> {
  const { socketMark: mark, datagramCapture: capture } = options;
  return { mark, ...(capture === undefined ? {} : { capture }) };
}

type OwnContext = ProxyContext & { readonly tap: Tap; readonly extensions: Extensions };
function makeContext(
  options: ProxyOptions,
  { io, dialler, isServedElsewhere }: OpenedIo,
  parts: Pick<ProxyContext, "clusters" | "routes" | "drain" | "overload">,
): OwnContext {
  const { clock, log, metrics, random, peers, openLog } = options;
  const context: OwnContext = {
    clock,
    log,
    metrics,
    random,
    tap: new Tap({ clock, metrics, random }),
    isServedElsewhere,
    ...parts,
    extensions: new Extensions(clock),
    dialler,
    internal: dialler,
    buckets: options.buckets ?? new SharedBuckets(0, undefined, bucketWatch(metrics)),
    node: ownNodeOf(options),
    environment: options.environment ?? {},
    listen: (listening) => io.listen(listening),
    ...(options.isWorker === true ? {} : { datagrams: datagramsOf(options) }),
    turnEnd: io.turnEnd,
    sinkFor: createSinkCompiler({ metrics, peers, openLog, random, context: () => context }),
  };
  return context;
}

/** Before the first pattern is compiled: engine/regex.ts asks V8 whether it may be trusted. */
function enableLinearRegex(): void {
  v8.setFlagsFromString("--enable-experimental-regexp-engine");
  v8.setFlagsFromString("--enable-experimental-regexp-engine-on-excessive-backtracks");
}
