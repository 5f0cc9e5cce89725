/** Limits on what a cluster may have in flight at once. */
import type { CircuitBreakers as Config } from "../../wire/gen/ts/envoy/config/cluster/v3/circuit_breaker.ts";
import { RoutingPriority } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { refuse } from "./refusal.ts";

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

/** Counts what is in flight of one kind. `onChange` hears when the limit is reached or left. */
export class Breaker {
  readonly #limit: number;
  readonly #onOverflow: () => void;
  readonly #onChange: (isOpen: boolean) => void;
  #active = 0;

  constructor(limit: number, onOverflow: () => void, onChange: (isOpen: boolean) => void) {
    this.#limit = limit;
    this.#onOverflow = onOverflow;
    this.#onChange = onChange;
  }

  get active(): number {
    return this.#active;
  }

  try(): boolean {
    if (this.#active >= this.#limit) {
      this.#onOverflow();
      return false;
    }
    this.#active++;
    if (this.#active === this.#limit) this.#onChange(true);
    return true;
  }

  release(): void {
    if (this.#active === this.#limit) this.#onChange(false);
    this.#active = Math.max(0, this.#active - 1);
  }
}
