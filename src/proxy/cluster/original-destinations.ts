/**
 * Endpoints of a cluster that connects wherever it is told (ORIGINAL_DST, dynamic forward proxy): made
 * for each destination as it comes, forgotten when idle.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { Endpoint } from "./endpoint.ts";

/** Past this the oldest are forgotten early; it only costs pooled connections. */
const destinationsMax = 10_000;

export class OriginalDestinations {
  readonly #make: (address: SocketAddress) => Endpoint;
  readonly #clock: Clock;
  readonly #cleanupMs: number;
  #recent = new Map<string, Endpoint>();
  #old = new Map<string, Endpoint>();
  #timer: Timer | undefined;

  constructor(cleanupMs: number, clock: Clock, make: (address: SocketAddress) => Endpoint) {
    this.#cleanupMs = cleanupMs;
    this.#clock = clock;
    this.#make = make;
  }

  pick(address: SocketAddress): Endpoint {
    const key = formatSocketAddress(address);
    const known = this.#recent.get(key);
    if (known !== undefined) return known;
    const endpoint = this.#old.get(key) ?? this.#make(address);
    this.#old.delete(key);
    this.#recent.set(key, endpoint);
    if (this.#recent.size > destinationsMax) this.#sweep();
    this.#timer ??= this.#clock.schedule(this.#cleanupMs, () => this.#onTimer());
    return endpoint;
  }

  close(): void {
    this.#timer?.cancel();
    for (const endpoint of [...this.#recent.values(), ...this.#old.values()]) endpoint.remove();
    this.#recent.clear();
    this.#old.clear();
  }

  #onTimer(): void {
    this.#sweep();
    this.#timer =
      this.#recent.size + this.#old.size === 0
        ? undefined
        : this.#clock.schedule(this.#cleanupMs, () => this.#onTimer());
  }

  /** Removes what was not asked for since the last sweep, unless it is in use. */
  #sweep(): void {
    const kept = this.#recent;
    for (const [key, endpoint] of this.#old) {
      if (endpoint.active > 0 && kept.size < destinationsMax) kept.set(key, endpoint);
      else endpoint.remove();
    }
    this.#old = kept;
    this.#recent = new Map();
  }
}
