/** Tells the control plane what proxies have seen spoken where it may not be expected. */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { ControlPlane, SeenProtocol } from "../../control/control-view.ts";
import type { MetricsSource } from "../../store/metrics-source.ts";
import type { Logger } from "../../telemetry/logger.ts";

export interface WatchProtocols {
  readonly controlPlane: Pick<ControlPlane, "setSeenProtocols">;
  readonly metrics: { readonly source: Pick<MetricsSource, "query"> };
  readonly clock: Clock;
  readonly log: Logger;
}

const everyMs = 5000;
/** What is not seen for so long is not told any more. */
const keepMs = 300_000;
/** The counts themselves: `increase()` knows nothing of a series' first sample, often the only one. */
const expression = "sum by (destination, seen) (heddle_protocol_seen_total)";
/** More would only repeat what the first say. */
const seenMax = 256;

interface Growth {
  readonly count: number;
  /** When it last grew; monotonic. */
  readonly atMs: number;
  readonly what: SeenProtocol;
}

/** The return value ends it. */
export function watchProtocols(options: WatchProtocols): () => Promise<void> {
  const { controlPlane, metrics, clock, log } = options;
  let timer: Timer | undefined;
  let isEnded = false;
  let known: ReadonlyMap<string, Growth> = new Map();
  const look = async (): Promise<void> => {
    try {
      const result = await metrics.source.query(expression, clock.nowMs());
      if (isEnded) return;
      known = grown(known, result.kind === "vector" ? result.samples : [], clock.monotonicMs());
      const fresh = [...known.values()].filter(({ atMs }) => atMs + keepMs > clock.monotonicMs());
      controlPlane.setSeenProtocols(fresh.map(({ what }) => what));
    } catch (error) {
      // The console says that metrics cannot be read.
      log.debug("spoken protocols cannot be read", { reason: messageOf(error) });
    }
    if (!isEnded) timer = clock.schedule(everyMs, () => void look());
  };
  timer = clock.schedule(everyMs, () => void look());
  return () => {
    isEnded = true;
    timer?.cancel();
    return Promise.resolve();
  };
}

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

function grown(
  known: ReadonlyMap<string, Growth>,
  samples: readonly Sample[],
  nowMs: number,
): ReadonlyMap<string, Growth> {
  const found = new Map<string, Growth>();
  for (const { labels, value } of samples) {
    const { destination = "", seen = "" } = labels;
    const key = `${destination} ${seen}`;
    const before = known.get(key);
    // A sidecar that began anew counts anew.
    const hasGrown = value > (before?.count ?? 0);
    const atMs = hasGrown ? nowMs : (before?.atMs ?? -Infinity);
    found.set(key, { count: value, atMs, what: { destination, seen } });
  }
  // Those that grew last are kept, or old ones would stand in the way of new ones for ever.
  const kept = [...found].toSorted(([, one], [, other]) => other.atMs - one.atMs).slice(0, seenMax);
  return new Map(kept.toSorted(([one], [other]) => (one < other ? -1 : 1)));
}
