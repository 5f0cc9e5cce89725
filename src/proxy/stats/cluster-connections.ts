/**
 * Envoy's series of a cluster's connections and of what rarely happens to its requests. Most clusters
 * of a mesh are never used: series are made when there is something to count.
 */
import type { ByteMeter } from "../../net/channel.ts";
import type { Counter, Histogram } from "../../telemetry/metrics.ts";
import type { ClusterEvent, UpstreamConnectionEnd } from "../context.ts";

export interface SeriesMakers {
  counter(suffix: string): Counter;
  timer(suffix: string): Histogram;
}

export class ConnectionSeries {
  readonly meter: ByteMeter;
  readonly #lengths: Histogram;
  readonly #connects: Histogram;
  readonly #destroyed: Counter;
  readonly #make: SeriesMakers;
  readonly #byName = new Map<string, Counter>();

  constructor(make: SeriesMakers) {
    this.#make = make;
    this.meter = {
      received: make.counter("upstream_cx_rx_bytes_total"),
      sent: make.counter("upstream_cx_tx_bytes_total"),
    };
    this.#lengths = make.timer("upstream_cx_length_ms");
    this.#connects = make.timer("upstream_cx_connect_ms");
    this.#destroyed = make.counter("upstream_cx_destroy");
  }

  onConnected(tookMs: number): void {
    this.#connects.record(tookMs);
  }

  onClosed({ lengthMs, by, isBusy }: UpstreamConnectionEnd): void {
    this.#lengths.record(lengthMs);
    this.#destroyed.add();
    this.count(`upstream_cx_destroy_${by}`);
    if (!isBusy) return;
    this.count("upstream_cx_destroy_with_active_rq");
    this.count(`upstream_cx_destroy_${by}_with_active_rq`);
  }

  count(name: ClusterEvent | `upstream_cx_destroy_${string}`): void {
    let counter = this.#byName.get(name);
    if (counter === undefined) this.#byName.set(name, (counter = this.#make.counter(name)));
    counter.add();
  }
}
