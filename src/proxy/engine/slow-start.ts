/** How much of its weight an endpoint gets while it warms up: Envoy's slow start. */
import type { Cluster_SlowStartConfig as SlowStartConfig } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { durationMs } from "./duration.ts";
import { refuse } from "./refusal.ts";

export interface SlowStart {
  readonly windowMs: number;
  /** 1: the share grows with time; above, faster at first. */
  readonly aggression: number;
  /** Never less than this share, from 0 to 1. */
  readonly shareMin: number;
}

/** Undefined where there is no window. */
export function compileSlowStart(
  config: SlowStartConfig | undefined,
  path: string,
): SlowStart | undefined {
  const windowMs = durationMs(config?.slowStartWindow) ?? 0;
  if (config === undefined || windowMs <= 0) return undefined;
  const aggression = config.aggression?.defaultValue ?? 1;
  const percent = config.minWeightPercent?.value ?? 10;
  if (!(aggression > 0)) refuse(`${path}.aggression.default_value`, "must be greater than 0");
  if (!(percent >= 0 && percent <= 100)) {
    refuse(`${path}.min_weight_percent`, "must lie between 0 and 100");
  }
  return { windowMs, aggression, shareMin: percent / 100 };
}

/** Never 0: what has no weight at all is never chosen again. */
export function slowStartFactor(
  { windowMs, aggression, shareMin }: SlowStart,
  healthySinceMs: number | undefined,
  nowMs: number,
): number {
  const ageMs = nowMs - (healthySinceMs ?? nowMs);
  if (ageMs >= windowMs) return 1;
  const share = Math.max(1, ageMs) / windowMs;
  return Math.max(aggression === 1 ? share : share ** (1 / aggression), shareMin);
}
