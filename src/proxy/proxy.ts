/**
 * The data plane, put together: configuration from a feed, clusters, listeners, HTTP and TCP, their
 * reports, and the admin interface over all of it. Everything else in this area knows only its own
 * part and the interfaces of `context.ts`.
 */
import v8 from "node:v8";

import type { Clock } from "../base/clock.ts";
import { type IoChoice, openIo } from "../net/io-backend.ts";
import { type Resolver, systemResolver } from "../net/resolver.ts";
import type { SecretSource } from "../net/secret-source.ts";
import { createClientTls, createTlsCounters } from "../net/tls-contexts.ts";
import { BoundedLog } from "../telemetry/bounded-log.ts";
import type { Log } from "../telemetry/log.ts";
import type { OwnedMetricRegistry } from "../telemetry/metric-registry.ts";
import type { PeerDirectory } from "../telemetry/standard-metrics.ts";
import type { XdsFeed } from "../xds/feed.ts";
import { type AdminHandler, createAdmin, type ProxyBootstrap } from "./admin.ts";
import { ClusterPool } from "./cluster.ts";
import { Configuration } from "./config.ts";
import type { ListenerSet, ProxyContext, RouteSource } from "./context.ts";
import { Drain, type DrainPlan, endingPlan } from "./drain.ts";
import { compileRouteConfiguration } from "./engine/route-configuration.ts";
import { closeUpstreams, httpFilterOverrides } from "./http.ts";
import { createListenerSet } from "./listener.ts";
import { createSinkCompiler, type SinkOptions } from "./stats.ts";
import { serverSeries } from "./stats/envoy-series.ts";

/** All clusters share it: a server that fails is asked by each retry of each request. */
const handshakeLinesPerSecond = 10;
/** Istio's `terminationDrainDuration`. */
const drainMs = 5000;

export interface ProxyOptions {
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
  /** SO_MARK of every connection the proxy opens. */
  readonly socketMark?: number;
  /** Who does the I/O; `portable` unless told. */
  readonly io?: IoChoice;
  readonly resolver?: Resolver;
  readonly nodeId: string;
  readonly version: string;
  /** Shown by the admin interface. */
  readonly bootstrap?: ProxyBootstrap;
}

export interface Proxy {
  /** Why it cannot serve yet, in one sentence; undefined when it can. */
  notReady(): string | undefined;
  /** Resolves when the first complete configuration serves. */
  readonly ready: Promise<void>;
  /** Prometheus text. */
  exposeMetrics(): string;
  readonly admin: AdminHandler;
  /** Addresses that are listened on, by listener. */
  listeners(): ReturnType<ListenerSet["bound"]>;
  /** What was refused, by resource: `name: field: reason`. */
  refusals(): readonly string[];
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
  const startedMs = clock.monotonicMs();
  metrics.onExpose(serverSeries(metrics).refresh);
  const clusters = makeClusters(options);
  const routes: RouteSource = { get: (name) => configuration.get(name) };
  const draining = new Drain(clock, options.random);
  const context = makeContext(options, { clusters, routes, drain: draining });
  const listeners = createListenerSet({ context, secrets });
  const configuration = new Configuration({
    feed: options.feed,
    clusters,
    listeners,
    secrets,
    compileRoutes: (config) => compileRouteConfiguration(config, httpFilterOverrides),
    clock,
    log: log.area("xds"),
    metrics,
  });
  const drain = (plan: DrainPlan = endingPlan(drainMs)): Promise<void> => {
    draining.begin(plan);
    return listeners.drain(plan);
  };
  const ready = new Promise<void>((resolve) => {
    configuration.onReady = () => {
      log.info("the first complete configuration serves");
      resolve();
    };
  });
  const exposeMetrics = (): string => metrics.expose();
  configuration.start();
  return {
    notReady: () => (draining.isDraining ? "draining" : configuration.waitingFor),
    ready,
    exposeMetrics,
    admin: createAdmin({
      configuration,
      clusters,
      secrets,
      log,
      version: options.version,
      nodeId: options.nodeId,
      bootstrap: options.bootstrap,
      uptimeMs: () => clock.monotonicMs() - startedMs,
      exposeMetrics,
      listeners: () => listeners.bound(),
      isDraining: () => draining.isDraining,
      drain: (plan) => void drain(plan),
      setHealthy: (isHealthy) => draining.setHealthy(isHealthy),
    }),
    listeners: () => listeners.bound(),
    refusals: () => configuration.refusals(),
    drain,
    async close() {
      configuration.close();
      clusters.close();
      await listeners.close();
      closeUpstreams(context);
    },
  };
}

function makeContext(
  options: ProxyOptions,
  parts: Pick<ProxyContext, "clusters" | "routes" | "drain">,
): ProxyContext {
  const { clock, log, metrics } = options;
  const io = openIo(options.io ?? "portable", clock, log.area("io"));
  return {
    clock,
    log,
    metrics,
    random: options.random,
    ...parts,
    listen: (listening) => io.listen(listening),
    dialler: io.createDialler({
      log: log.area("upstream"),
      ...(options.socketMark === undefined ? {} : { mark: options.socketMark }),
    }),
    sinkFor: createSinkCompiler({
      metrics,
      peers: options.peers,
      openLog: options.openLog,
    }),
  };
}

function makeClusters(options: ProxyOptions): ClusterPool {
  const { clock, log, metrics, secrets } = options;
  const failures = new BoundedLog({
    clock,
    log: log.area("upstream"),
    linesPerSecond: handshakeLinesPerSecond,
  });
  return new ClusterPool({
    clock,
    log: log.area("cluster"),
    random: options.random,
    metrics,
    secrets,
    resolver: options.resolver ?? systemResolver,
    clientTls: (tls, statName) =>
      createClientTls(tls, {
        secrets,
        log: log.area("tls"),
        counters: createTlsCounters(metrics, "envoy_cluster", { cluster_name: statName }),
        onFailure: ({ code, message }) =>
          failures.warn("a TLS handshake with a server failed", {
            cluster: statName,
            code,
            reason: message,
          }),
      }),
  });
}

/** Before the first pattern is compiled: engine/regex.ts asks V8 whether it may be trusted. */
function enableLinearRegex(): void {
  v8.setFlagsFromString("--enable-experimental-regexp-engine");
  v8.setFlagsFromString("--enable-experimental-regexp-engine-on-excessive-backtracks");
}
