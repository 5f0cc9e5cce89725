/** A bootstrap's watchdog over workers as limits of the watch over data workers. */
import type { Bootstrap } from "../../wire/gen/ts/envoy/config/bootstrap/v3/bootstrap.ts";
import { durationMs } from "../engine/duration.ts";
import { defaultWatchLimits, type WatchLimits } from "../workers/worker-watch.ts";

/** Undefined where the file says nothing of it; what it leaves open is as in Envoy: nothing is ended. */
export function watchLimitsOf(bootstrap: Bootstrap): WatchLimits | undefined {
  const watchdog = bootstrap.watchdogs?.workerWatchdog;
  if (watchdog === undefined) return undefined;
  const { missMs, megaMissMs } = defaultWatchLimits;
  return {
    missMs: durationMs(watchdog.missTimeout) ?? missMs,
    megaMissMs: durationMs(watchdog.megamissTimeout) ?? megaMissMs,
    endMs: 0,
    killMs: durationMs(watchdog.killTimeout) ?? 0,
  };
}
