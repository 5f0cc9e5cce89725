/** Limits on what a cluster may have in flight at once. */
import type { CircuitBreakers as Config } from "../../wire/gen/ts/envoy/config/cluster/v3/circuit_breaker.ts";
import { RoutingPriority } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { durationMs } from "./duration.ts";
import { refuse } from "./refusal.ts";
import type { SharedCount } from "./shared-counts.ts";

export type LimitedKind = "connection" | "pending" | "request" | "retry" | "pool";
/** Of requests that began of late nothing is limited; budgets of retries look at them. */
type Kind = LimitedKind | "recent";
/** Routes of priority HIGH are counted apart. */
export type CountedKind = Kind | `high-${Kind}`;

export type Limits = { readonly [kind in LimitedKind]: number } & {
  /** Instead of the number of retries. */
  readonly retryBudget: RetryBudget | undefined;
  /** What is left of each limit is told. */
  readonly tellsRemaining: boolean;
  /** Connections to one endpoint. */
  readonly perEndpoint: number;
};

/** Retries may be so much of what is in flight, or of what began of late, or so many. */
export interface RetryBudget {
  /** From 0 to 1. */
  readonly share: number;
  readonly min: number;
  /** How far back requests count; 0: those count that are in flight. */
  readonly windowMs: number;
}

/** Of one priority; where nothing is said Envoy's defaults hold. */
export function compileLimits(
  config: Config | undefined,
  path: string,
  priority: RoutingPriority = RoutingPriority.DEFAULT,
): Limits {
  const index = (config?.thresholds ?? []).findIndex((each) => each.priority === priority);
  const thresholds = config?.thresholds[index];
  const budget = thresholds?.retryBudget;
  const percent = budget?.budgetPercent?.value ?? 20;
  // NaN is no share either: it would let every retry pass.
  if (!(percent >= 0 && percent <= 100)) {
    refuse(`${path}.thresholds[${index}].retry_budget.budget_percent`, "must be from 0 to 100");
  }
  return {
    connection: thresholds?.maxConnections ?? 1024,
    pending: thresholds?.maxPendingRequests ?? 1024,
    request: thresholds?.maxRequests ?? 1024,
    retry: thresholds?.maxRetries ?? 3,
    pool: thresholds?.maxConnectionPools ?? Number.POSITIVE_INFINITY,
    perEndpoint: perEndpointOf(config, path, priority),
    tellsRemaining: thresholds?.trackRemaining === true,
    retryBudget:
      budget === undefined
        ? undefined
        : {
            share: percent / 100,
            min: budget.minRetryConcurrency ?? 3,
            windowMs: durationMs(budget.budgetInterval) ?? 0,
          },
  };
}

const endpointLimitsUnknown = [
  "maxPendingRequests",
  "maxRequests",
  "maxRetries",
  "retryBudget",
  "maxConnectionPools",
  "trackRemaining",
] as const;

/** As Envoy, which refuses the other fields: of an endpoint it limits connections alone. */
function perEndpointOf(
  config: Config | undefined,
  path: string,
  priority: RoutingPriority,
): number {
  let found = Number.POSITIVE_INFINITY;
  for (const [i, each] of (config?.perHostThresholds ?? []).entries()) {
    for (const field of endpointLimitsUnknown) {
      const value = each[field];
      if (value === undefined || value === false) continue;
      const name = field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      refuse(`${path}.per_host_thresholds[${i}].${name}`, "limits no endpoint");
    }
    if (each.priority === priority) found = Math.min(found, each.maxConnections ?? found);
  }
  return found;
}

/** Counts what is in flight of one kind. */
export interface Breaker {
  /** In flight now. */
  readonly count: number;
  try(): boolean;
  release(): void;
}

export interface BreakerOptions {
  /** A function where it depends on what else is in flight. */
  readonly limit: number | (() => number);
  readonly onOverflow: () => void;
  /** The limit is reached, or left. */
  readonly onChange: (isOpen: boolean) => void;
  /** So much may still be in flight; absent: nobody wants to know. */
  readonly onRemaining?: ((remaining: number) => void) | undefined;
}

function limitOf({ limit }: BreakerOptions): number {
  return typeof limit === "number" ? limit : limit();
}

export class LocalBreaker implements Breaker {
  readonly #options: BreakerOptions;
  #active = 0;

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#active;
  }

  try(): boolean {
    const { onOverflow, onChange } = this.#options;
    const limit = limitOf(this.#options);
    if (this.#active >= limit) {
      onOverflow();
      return false;
    }
    this.#active++;
    if (this.#active >= limit) onChange(true);
    this.#options.onRemaining?.(limit - this.#active);
    return true;
  }

  release(): void {
    const { onChange } = this.#options;
    const limit = limitOf(this.#options);
    if (this.#active >= limit) onChange(this.#active > limit);
    this.#active = Math.max(0, this.#active - 1);
    this.#options.onRemaining?.(Math.max(0, limit - this.#active));
  }
}

/** Of all threads together. Whether the limit is reached is told to the one that asks: `refresh()`. */
export class SharedBreaker implements Breaker {
  readonly #options: BreakerOptions;
  readonly #count: SharedCount;

  constructor(options: BreakerOptions, count: SharedCount) {
    this.#options = options;
    this.#count = count;
  }

  get count(): number {
    return this.#count.total();
  }

  /** Counts first: of several threads that see one place left, no two may take it. */
  try(): boolean {
    this.#count.add(1);
    if (this.#count.total() <= limitOf(this.#options)) return true;
    this.#count.add(-1);
    this.#options.onOverflow();
    return false;
  }

  release(): void {
    this.#count.add(-1);
  }

  refresh(): void {
    const { onChange, onRemaining } = this.#options;
    const limit = limitOf(this.#options);
    const total = this.#count.total();
    onChange(total >= limit);
    onRemaining?.(Math.max(0, limit - total));
  }
}
