/** Limits on what a cluster may have in flight at once. */
import type { CircuitBreakers as Config } from "../../wire/gen/ts/envoy/config/cluster/v3/circuit_breaker.ts";
import { RoutingPriority } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { refuse } from "./refusal.ts";
import type { SharedCount } from "./shared-counts.ts";

export type LimitedKind = "connection" | "pending" | "request" | "retry";

export type Limits = { readonly [kind in LimitedKind]: number };

/** Envoy's defaults; thresholds of priority HIGH are not used, no route may ask for it. */
export function compileLimits(config: Config | undefined, path: string): Limits {
  const index = (config?.thresholds ?? []).findIndex(
    (each) => each.priority === RoutingPriority.DEFAULT,
  );
  const thresholds = config?.thresholds[index];
  if (thresholds?.retryBudget !== undefined) {
    refuse(`${path}.thresholds[${index}].retry_budget`, "is not supported");
  }
  if ((config?.perHostThresholds ?? []).length > 0) {
    refuse(`${path}.per_host_thresholds`, "is not supported");
  }
  return {
    connection: thresholds?.maxConnections ?? 1024,
    pending: thresholds?.maxPendingRequests ?? 1024,
    request: thresholds?.maxRequests ?? 1024,
    retry: thresholds?.maxRetries ?? 3,
  };
}

/** Counts what is in flight of one kind. */
export interface Breaker {
  try(): boolean;
  release(): void;
}

export interface BreakerOptions {
  readonly limit: number;
  readonly onOverflow: () => void;
  /** The limit is reached, or left. */
  readonly onChange: (isOpen: boolean) => void;
}

export class LocalBreaker implements Breaker {
  readonly #options: BreakerOptions;
  #active = 0;

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  try(): boolean {
    const { limit, onOverflow, onChange } = this.#options;
    if (this.#active >= limit) {
      onOverflow();
      return false;
    }
    this.#active++;
    if (this.#active === limit) onChange(true);
    return true;
  }

  release(): void {
    const { limit, onChange } = this.#options;
    if (this.#active === limit) onChange(false);
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

  /** Counts first: of several threads that see one place left, no two may take it. */
  try(): boolean {
    this.#count.add(1);
    if (this.#count.total() <= this.#options.limit) return true;
    this.#count.add(-1);
    this.#options.onOverflow();
    return false;
  }

  release(): void {
    this.#count.add(-1);
  }

  refresh(): void {
    const { limit, onChange } = this.#options;
    onChange(this.#count.total() >= limit);
  }
}
