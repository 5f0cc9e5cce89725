/** A cluster as requests of priority HIGH use it: the same endpoints, limits and connections apart. */
import type { Whole } from "../../base/whole.ts";
import type { TcpKeepAlive } from "../../net/dialler.ts";
import type {
  CircuitBreakers,
  ClusterCounters,
  EndpointChoice,
  UpstreamCluster,
  UpstreamEndpoint,
  UpstreamHttp2,
} from "../context.ts";

export class HighPriority implements Whole<UpstreamCluster> {
  readonly isHigh = true;
  readonly limits: CircuitBreakers;
  readonly #cluster: UpstreamCluster;

  constructor(cluster: UpstreamCluster, limits: CircuitBreakers) {
    this.#cluster = cluster;
    this.limits = limits;
  }

  get high(): UpstreamCluster {
    return this;
  }
  get name(): string {
    return this.#cluster.name;
  }
  get statName(): string {
    return this.#cluster.statName;
  }
  get connectTimeoutMs(): number {
    return this.#cluster.connectTimeoutMs;
  }
  get keepAlive(): TcpKeepAlive | undefined {
    return this.#cluster.keepAlive;
  }
  get socketOptions(): UpstreamCluster["socketOptions"] {
    return this.#cluster.socketOptions;
  }
  get writeQueueBytesMax(): number | undefined {
    return this.#cluster.writeQueueBytesMax;
  }
  get metadata(): UpstreamCluster["metadata"] {
    return this.#cluster.metadata;
  }
  get maxRequestsPerConnection(): number {
    return this.#cluster.maxRequestsPerConnection;
  }
  get idleTimeoutMs(): number {
    return this.#cluster.idleTimeoutMs;
  }
  get maxConnectionDurationMs(): number | undefined {
    return this.#cluster.maxConnectionDurationMs;
  }
  get maxStreamDurationMs(): number | undefined {
    return this.#cluster.maxStreamDurationMs;
  }
  get headLimits(): UpstreamCluster["headLimits"] {
    return this.#cluster.headLimits;
  }
  get isErrorAnswer(): UpstreamCluster["isErrorAnswer"] {
    return this.#cluster.isErrorAnswer;
  }
  get preconnectRatio(): number | undefined {
    return this.#cluster.preconnectRatio;
  }
  get forecast(): UpstreamCluster["forecast"] {
    return this.#cluster.forecast;
  }
  get tracked(): UpstreamCluster["tracked"] {
    return this.#cluster.tracked;
  }
  get dropShare(): number | undefined {
    return this.#cluster.dropShare;
  }
  get http2(): UpstreamHttp2 | undefined {
    return this.#cluster.http2;
  }
  get http1(): UpstreamCluster["http1"] {
    return this.#cluster.http1;
  }
  get counters(): ClusterCounters {
    return this.#cluster.counters;
  }

  get isWell(): UpstreamCluster["isWell"] {
    return this.#cluster.isWell;
  }

  get memberFor(): UpstreamCluster["memberFor"] {
    const { memberFor } = this.#cluster;
    return memberFor && ((choice) => memberFor(choice)?.high);
  }

  pick(choice: EndpointChoice): UpstreamEndpoint | undefined {
    return this.#cluster.pick(choice);
  }
}
