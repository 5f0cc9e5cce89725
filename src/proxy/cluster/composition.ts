/** The clusters of a data plane, put together with what they need. */
import { createClientTls, createTlsCounters } from "../../net/tls-contexts.ts";
import type { Dialler } from "../../net/dialler.ts";
import { systemResolver } from "../../net/resolver.ts";
import { BoundedLog } from "../../telemetry/bounded-log.ts";
import { ClusterPool } from "../cluster.ts";
import type { ProxyOptions } from "../proxy.ts";
import type { HealthReport } from "./cluster-health.ts";
import type { SharedLimits } from "./limits.ts";
import { ToldHealth } from "./told-health.ts";

/** All clusters share it: a server that fails is asked by each retry of each request. */
const handshakeLinesPerSecond = 10;

export interface ClusterParts {
  /** Those that serve, where it is not this thread. */
  readonly workers:
    | { readonly sharedLimits: SharedLimits; tellHealth(report: HealthReport): void }
    | undefined;
  readonly dialler: Dialler;
}

export function composeClusters(
  options: ProxyOptions,
  { workers, dialler }: ClusterParts,
): ClusterPool {
  const { clock, log, metrics, secrets } = options;
  const failures = new BoundedLog({
    clock,
    log: log.area("upstream"),
    linesPerSecond: handshakeLinesPerSecond,
  });
  return new ClusterPool({
    sharedLimits: workers?.sharedLimits ?? options.sharedLimits,
    onEjected: options.onEjected,
    localCluster: options.localCluster,
    // Endpoints are checked once for a process.
    ...(options.isWorker === true ? { toldHealth: new ToldHealth() } : { dialler }),
    openLog: options.openLog,
    onHealthNews: options.onHealthNews,
    onHealthReport: (report) => workers?.tellHealth(report),
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
