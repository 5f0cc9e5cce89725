/** A data plane's threads, for tests that run it with and without them. */
import type { WorkerOptions } from "../../src/proxy/proxy.ts";
import {
  createSharedMetricRegistry,
  type SharedMetricRegistry,
} from "../../src/telemetry/metric-registry.ts";

export const workerEntry: URL = new URL("../../src/proxy/workers/worker-main.ts", import.meta.url);

/** Options of `startProxy`; none of the threads with 0. */
export function threads(count: number): {
  readonly metrics: SharedMetricRegistry;
  readonly workers: WorkerOptions;
} {
  const metrics = createSharedMetricRegistry();
  return { metrics, workers: { count, entry: workerEntry, metrics } };
}
