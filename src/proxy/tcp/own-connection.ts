/** The connection that a TCP session alone has to an endpoint, as its cluster counts it. */
import type { Clock } from "../../base/clock.ts";
import type { Channel, ChannelError } from "../../net/channel.ts";
import type { UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import { endOf } from "../http/connection-ends.ts";
import { countConnection } from "../http/dial-options.ts";

export class OwnConnection {
  readonly #clock: Clock;
  #begunMs = 0;
  #isUp = false;
  #hasPeerEnded = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The caller has asked the cluster's limits. */
  begin({ counters }: UpstreamCluster, endpoint: UpstreamEndpoint): void {
    this.#begunMs = this.#clock.monotonicMs();
    this.#hasPeerEnded = false;
    countConnection(endpoint, 1);
    endpoint.stats?.onPending(1);
    counters.onConnectionOpened();
    counters.count("upstream_rq_pending_total");
    counters.changeActive("upstream_rq_pending_active", 1);
  }

  onConnected(channel: Channel, { counters }: UpstreamCluster, endpoint: UpstreamEndpoint): void {
    this.#isUp = true;
    channel.meter = counters.meter;
    counters.onConnected(this.#clock.monotonicMs() - this.#begunMs);
    counters.changeActive("upstream_rq_pending_active", -1);
    counters.changeActive("upstream_rq_active", 1);
    counters.count("upstream_rq_total");
    endpoint.stats?.onPending(-1);
    endpoint.stats?.onRequest(1);
  }

  onPeerEnded(): void {
    this.#hasPeerEnded = true;
  }

  /** Also where it was never connected. */
  onClosed(
    { limits, counters }: UpstreamCluster,
    endpoint: UpstreamEndpoint,
    error: ChannelError | undefined,
  ): void {
    limits.releaseConnection();
    countConnection(endpoint, -1);
    const lengthMs = this.#clock.monotonicMs() - this.#begunMs;
    const isBusy = this.#isUp;
    if (isBusy) endpoint.stats?.onRequest(-1);
    else endpoint.stats?.onPending(-1);
    this.#isUp = false;
    const hasPeerEnded = this.#hasPeerEnded;
    counters.onConnectionClosed(endOf({ lengthMs, hasPeerEnded, error, isBusy }));
    counters.changeActive(isBusy ? "upstream_rq_active" : "upstream_rq_pending_active", -1);
  }
}
