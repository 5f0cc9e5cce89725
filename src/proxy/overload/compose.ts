/** The overload manager of a proxy, where one is configured, and what it acts on. */
import v8 from "node:v8";

import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../telemetry/log.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import { Overload, type ProxyOverload } from "../overload.ts";
import type { DataWorkers } from "../workers/data-workers.ts";

export interface OverloadParts {
  readonly overload?: ProxyOverload;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: MetricRegistry;
}

export function makeOverload(
  { overload, clock, log, metrics }: OverloadParts,
  resetSlowest: (fromBytes: number, countMax: number) => void,
  workers: () => DataWorkers | undefined,
): Overload | undefined {
  if (overload === undefined) return undefined;
  v8.setFlagsFromString("--expose-gc"); // for threads that are started from now on
  return new Overload({
    ...overload,
    clock,
    log: log.area("overload"),
    metrics,
    resetSlowest,
    collectGarbage: (kind) => {
      overload.collectGarbage(kind);
      workers()?.collectGarbage(kind);
    },
    heapElsewhere: () => workers()?.heapBytes ?? 0,
  });
}
