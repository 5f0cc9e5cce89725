/** Envoy's series of routes that have a name to be counted under (`stat_prefix`). */
import type { Counter, Histogram, MetricRegistry } from "../../telemetry/metrics.ts";
import { standardBuckets } from "../../telemetry/standard-metrics.ts";

/** A request that its route has forwarded, at its end. */
export interface RoutedRequest {
  readonly status: number;
  readonly attempts: number;
  readonly hasTimedOut: boolean;
  readonly hasUsedRetries: boolean;
  /** Of the answer of a server, since the request was whole; undefined without one. */
  readonly answeredMs: number | undefined;
}

const help = "As Envoy counts it.";

export class RouteSeries {
  readonly #total: Counter;
  readonly #completed: Counter;
  readonly #retries: Counter;
  readonly #successes: Counter;
  readonly #exceeded: Counter;
  readonly #timeouts: Counter;
  readonly #time: Histogram;
  readonly #classes: Counter[] = [];
  readonly #classOf: (index: number) => Counter;

  constructor(metrics: MetricRegistry, virtualHost: string, statPrefix: string) {
    const labels = { envoy_virtual_host: virtualHost, envoy_route: statPrefix };
    const name = (suffix: string): string => `envoy_vhost_route_upstream_rq_${suffix}`;
    const counter = (suffix: string): Counter => metrics.counter(name(suffix), help, labels);
    this.#total = counter("total");
    this.#completed = counter("completed");
    this.#retries = counter("retry");
    this.#successes = counter("retry_success");
    this.#exceeded = counter("retry_limit_exceeded");
    this.#timeouts = counter("timeout");
    this.#time = metrics.histogram(name("time"), help, standardBuckets, labels);
    this.#classOf = (index) =>
      metrics.counter(name("xx"), help, { ...labels, response_code_class: String(index) });
  }

  onEnd({ status, attempts, hasTimedOut, hasUsedRetries, answeredMs }: RoutedRequest): void {
    this.#total.add(attempts);
    if (attempts > 1) this.#retries.add(attempts - 1);
    if (attempts > 1 && status < 500) this.#successes.add(1);
    if (hasUsedRetries) this.#exceeded.add(1);
    if (hasTimedOut) this.#timeouts.add(1);
    if (answeredMs !== undefined) this.#time.record(answeredMs);
    if (status === 0) return;
    this.#completed.add(1);
    const index = Math.floor(status / 100);
    (this.#classes[index] ??= this.#classOf(index)).add(1);
  }
}
