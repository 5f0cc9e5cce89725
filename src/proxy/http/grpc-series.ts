/**
 * How calls of gRPC went, by cluster and, where it is wanted, by method: the series of Envoy's filters
 * `grpc_stats` and `grpc_web`. A series begins with the first that it counts.
 */
import type { Counter, Histogram, Labels, MetricRegistry } from "../../telemetry/metrics.ts";
import type { UpstreamCluster } from "../context.ts";

/** Methods with series of their own, of all clusters together; callers may make names up. */
const methodsMax = 1000;
const knownStatusMax = 16;
/** Milliseconds; Envoy's. */
const timeBuckets: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000,
];
/** Two names behind slashes. */
const methodPath = /^\/*([^/?]+)\/+([^/?]+)\/*(?:\?|$)/;

export interface GrpcSeriesOptions {
  /** As it stands in the series' names. */
  readonly protocol: "grpc" | "grpc_web";
  /** Whether this method has series of its own. */
  readonly isNamed: (service: string, method: string) => boolean;
  /** A service's dots become underscores. */
  readonly replacesDots: boolean;
}

interface ClusterSeries {
  readonly unnamed: CallSeries;
  /** By path without query. */
  readonly byPath: Map<string, CallSeries>;
}

export class GrpcSeries {
  readonly #metrics: MetricRegistry;
  readonly #options: GrpcSeriesOptions;
  readonly #clusters = new Map<string, ClusterSeries>();
  #methods = 0;
  #folded: Counter | undefined;

  constructor(metrics: MetricRegistry, options: GrpcSeriesOptions) {
    this.#metrics = metrics;
    this.#options = options;
  }

  /** Undefined where the path names no method. */
  of(cluster: UpstreamCluster, path: string): CallSeries | undefined {
    const { unnamed, byPath } = this.#ofCluster(cluster.statName);
    const known = byPath.get(path);
    if (known !== undefined) return known;
    if (!methodPath.test(path)) return undefined;
    const [, service = "", method = ""] = methodPath.exec(path) ?? [];
    if (!this.#options.isNamed(service, method)) return unnamed;
    if (path.includes("?")) return this.of(cluster, `/${service}/${method}`);
    if (this.#methods >= methodsMax) {
      this.#folded ??= this.#metrics.counter(
        "heddle_grpc_methods_folded_total",
        "Calls of gRPC counted without their method's name, because too many others have series",
      );
      this.#folded.add();
      return unnamed;
    }
    this.#methods++;
    const made = this.#make({
      cluster_name: cluster.statName,
      grpc_bridge_service: this.#options.replacesDots ? service.replaceAll(".", "_") : service,
      grpc_bridge_method: method,
    });
    byPath.set(path, made);
    return made;
  }

  #ofCluster(name: string): ClusterSeries {
    let series = this.#clusters.get(name);
    if (series === undefined) {
      series = { unnamed: this.#make({ cluster_name: name }), byPath: new Map() };
      this.#clusters.set(name, series);
    }
    return series;
  }

  #make(labels: Labels): CallSeries {
    return new CallSeries(this.#metrics, `envoy_cluster_${this.#options.protocol}_`, labels);
  }
}

/** Of one method, or of all that have none of their own. */
export class CallSeries {
  readonly #metrics: MetricRegistry;
  readonly #prefix: string;
  readonly #labels: Labels;
  readonly #statuses: (Counter | undefined)[] = [];
  #success: Counter | undefined;
  #failure: Counter | undefined;
  #total: Counter | undefined;
  #requestMessages: Counter | undefined;
  #responseMessages: Counter | undefined;
  #time: Histogram | undefined;

  constructor(metrics: MetricRegistry, prefix: string, labels: Labels) {
    this.#metrics = metrics;
    this.#prefix = prefix;
    this.#labels = labels;
  }

  onRequestMessages(count: number): void {
    this.#requestMessages ??= this.#counter("request_message_count", "Messages of callers");
    this.#requestMessages.add(count);
  }

  onResponseMessages(count: number): void {
    this.#responseMessages ??= this.#counter("response_message_count", "Messages of servers");
    this.#responseMessages.add(count);
  }

  /** A call has ended with this status; what gRPC does not know is counted by its outcome alone. */
  onStatus(status: number): void {
    if (Number.isInteger(status) && status >= 0 && status <= knownStatusMax) {
      this.#statuses[status] ??= this.#counter(String(status), "Calls that ended with this status");
      this.#statuses[status].add();
    }
    if (status === 0) {
      this.#success ??= this.#counter("success", "Calls that ended well");
      this.#success.add();
    } else {
      this.#failure ??= this.#counter("failure", "Calls that failed");
      this.#failure.add();
    }
    this.#total ??= this.#counter("total", "Calls that ended with a status");
    this.#total.add();
  }

  /** From the last byte of the request to the last byte of the answer. */
  onTime(milliseconds: number): void {
    this.#time ??= this.#metrics.histogram(
      `${this.#prefix}upstream_rq_time`,
      "Of calls of gRPC: milliseconds that servers took",
      timeBuckets,
      this.#labels,
    );
    this.#time.record(milliseconds);
  }

  #counter(name: string, help: string): Counter {
    return this.#metrics.counter(`${this.#prefix}${name}`, `Of gRPC: ${help}`, this.#labels);
  }
}
