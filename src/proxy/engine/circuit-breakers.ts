/** Limits on what a cluster may have in flight at once. */
import type { CircuitBreakers as Config } from "../../wire/gen/ts/envoy/config/cluster/v3/circuit_breaker.ts";
import { RoutingPriority } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { refuse } from "./refusal.ts";
import type { SharedCount } from "./shared-counts.ts";

export type LimitedKind = "connection" | "pending" | "request" | "retry";

export type Limits = { readonly [kind in LimitedKind]: number } & {
  /** Instead of the number of retries. */
  readonly retryBudget: RetryBudget | undefined;
};

/** Retries may be so much of what is in flight, or so many. */
export interface RetryBudget {
  /** From 0 to 1. */
  readonly share: number;
  readonly min: number;
}

/** Envoy's defaults; thresholds of priority HIGH are not used, no route may ask for it. */
export function compileLimits(config: Config | undefined, path: string): Limits {
  const index = (config?.thresholds ?? []).findIndex(
    (each) => each.priority === RoutingPriority.DEFAULT,
  );
  const thresholds = config?.thresholds[index];
  const budget = thresholds?.retryBudget;
  const percent = budget?.budgetPercent?.value ?? 20;
  if (percent < 0 || percent > 100) {
    refuse(`${path}.thresholds[${index}].retry_budget.budget_percent`, "must be from 0 to 100");
  }
  if ((config?.perHostThresholds ?? []).length > 0) {
    refuse(`${path}.per_host_thresholds`, "is not supported");
  }
  return {
    connection: thresholds?.maxConnections ?? 1024,
    pending: thresholds?.maxPendingRequests ?? 1024,
    request: thresholds?.maxRequests ?? 1024,
    retry: thresholds?.maxRetries ?? 3,
    retryBudget:
      budget === undefined
        ? undefined
        : { share: percent / 100, min: budget.minRetryConcurrency ?? 3 },
  };
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
    return true;
  }

  release(): void {
    const { onChange } = this.#options;
    const limit = limitOf(this.#options);
    if (this.#active >= limit) onChange(this.#active > limit);
    this.#active = Math.max(0, this.#active - 1);
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
    this.#options.onChange(this.#count.total() >= limitOf(this.#options));
  }
}
