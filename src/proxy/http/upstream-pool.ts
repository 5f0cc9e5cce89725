/**
 * Keep-alive connections of HTTP/1.1 to one endpoint, one request at a time on each. A request takes the
 * connection that was used last; without one it waits while another is opened, within the cluster's limits.
 */
import type { Channel, ChannelError } from "../../net/channel.ts";
import type { ProxyContext, UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import { type ForecastShare, isShort } from "../engine/forecast.ts";
import { countConnectFailure } from "./connection-ends.ts";
import type { AnswerHeads } from "./answer-heads.ts";
import type { AgreedPool, OpenedConnection, SpeakingPool } from "./agreed-pool.ts";
import type { DeadlineWheel } from "./deadline-wheel.ts";
import { countConnection, queueOf, sourceOf } from "./dial-options.ts";
import { type LimitedPool, PoolPermit } from "./pool-permit.ts";
import { leavePending, tryPending } from "./request-limits.ts";
import { type RequestMemory, UpstreamConnection } from "./upstream-connection.ts";
import type { PoolFailure, UpstreamUser } from "./upstream-exchange.ts";
import type { Upstreams } from "./upstreams.ts";

interface Waiting {
  readonly user: UpstreamUser;
  readonly cluster: UpstreamCluster;
}

/** That one request may open, as in Envoy. */
const connectsMax = 3;

export class EndpointPool implements SpeakingPool, LimitedPool {
  /** Where a connection may turn out to speak another protocol. */
  agreed: AgreedPool | undefined = undefined;
  readonly endpoint: UpstreamEndpoint;
  readonly wheel: DeadlineWheel;
  readonly memory: RequestMemory;
  readonly heads: AnswerHeads;
  readonly #context: ProxyContext;
  readonly #upstreams: Upstreams;
  /** Where the cluster foresees requests. */
  readonly #forecast: ForecastShare | undefined;
  /** The connection used last is last; those before it grow idle and close. */
  readonly #idle: UpstreamConnection[] = [];
  readonly #waiting: Waiting[] = [];
  #connecting = 0;
  #open = 0;
  /** One of the cluster's pools is this one, where they are counted. */
  readonly #permit = new PoolPermit(this);
  /** Connections of an earlier one carry no further request. */
  #generation = 0;

  constructor(
    endpoint: UpstreamEndpoint,
    context: ProxyContext,
    ...[upstreams, forecast]: [upstreams: Upstreams, forecast?: ForecastShare | undefined]
  ) {
    this.endpoint = endpoint;
    this.#context = context;
    this.#upstreams = upstreams;
    this.#forecast = forecast;
    this.wheel = upstreams.wheel;
    this.memory = upstreams.memory;
    this.heads = upstreams.heads;
  }

  /** No connection of now carries a further request. */
  drain(): void {
    this.#generation++;
    this.closeIdle();
  }

  closeIdle(): void {
    for (const connection of this.#idle.splice(0)) connection.channel?.destroy();
  }

  acquire(user: UpstreamUser, cluster: UpstreamCluster, isFresh = false): void {
    this.#acquire(user, cluster, isFresh);
    this.#tell();
  }

  #acquire(user: UpstreamUser, cluster: UpstreamCluster, isFresh: boolean): void {
    while (!isFresh) {
      const connection = this.#idle.pop();
      if (connection === undefined) break;
      if (connection.channel?.isClosed !== false) continue;
      if (connection.usableUntilMs <= this.wheel.nowMs) {
        connection.channel.destroy();
        continue;
      }
      this.#attach(connection, user);
      return this.#anticipate(cluster, connectsMax);
    }
    if (!this.#permit.take(cluster)) return user.onPoolFailure("no-pool", undefined);
    if (!tryPending(cluster, this.endpoint)) {
      this.#leaveIfEmpty();
      return user.onPoolFailure("overflow", undefined);
    }
    this.#waiting.push({ user, cluster });
    if (this.#connecting >= this.#waiting.length) return this.#anticipate(cluster, connectsMax);
    // Over the limit of connections a request waits for one of those that are open; without any it
    // is let through, as Envoy does, or it would wait for ever.
    if (cluster.limits.tryConnection(this.endpoint)) this.#connect(cluster, true);
    else if (this.#open === 0) this.#connect(cluster, false);
    this.#anticipate(cluster, connectsMax - 1);
  }

  /** That wait for a connection, or have one. */
  get #streams(): number {
    return this.#waiting.length + this.#open - this.#connecting - this.#idle.length;
  }

  /** What the cluster foresees with has changed. */
  #tell(): void {
    this.#forecast?.set(this.#streams, this.#open);
  }

  foresee(cluster: UpstreamCluster, ratio: number): boolean {
    if (!isShort({ streams: this.#streams, room: this.#open, ratio })) return false;
    if (!this.#permit.take(cluster)) return false;
    // As Envoy: the first is let through, and what waits elsewhere has its turn.
    const isFree = cluster.limits.tryConnection(this.endpoint);
    if (isFree || this.#open === 0) this.#connect(cluster, isFree);
    this.#tell();
    return isFree;
  }

  /** Opens connections for requests to come, where the cluster wants so many for each that is there. */
  #anticipate(cluster: UpstreamCluster, max: number): void {
    const { preconnectRatio: ratio } = cluster;
    if (ratio === undefined || this.endpoint.isRemoved === true) return;
    for (let i = 0; i < max; i++) {
      if (this.#streams * ratio <= this.#open) return;
      if (!cluster.limits.tryConnection(this.endpoint)) return;
      this.#connect(cluster, true);
    }
  }

  /** Nothing is here any more: another endpoint may have a pool instead. */
  #leaveIfEmpty(): void {
    if (this.#open === 0 && this.#waiting.length === 0) this.#permit.leave();
  }

  giveUp(): boolean {
    if (this.#waiting.length > 0 || this.#open > this.#idle.length) return false;
    this.closeIdle();
    this.#permit.leave();
    return true;
  }

  cancel(user: UpstreamUser): boolean {
    const at = this.#waiting.findIndex((waiting) => waiting.user === user);
    if (at < 0) return false;
    leavePending(this.#waiting[at]?.cluster, this.endpoint);
    const [left] = this.#waiting.splice(at, 1);
    left?.cluster.counters.count("upstream_rq_cancelled");
    this.#leaveIfEmpty();
    this.#tell();
    return true;
  }

  release(connection: UpstreamConnection): void {
    this.#release(connection);
    this.#tell();
  }

  #release(connection: UpstreamConnection): void {
    const { cluster } = connection;
    const max = cluster.maxRequestsPerConnection;
    const ageMs = this.wheel.nowMs - connection.connectedMs;
    const leftMs = (cluster.maxConnectionDurationMs || Number.POSITIVE_INFINITY) - ageMs;
    const isDrained = connection.generation !== this.#generation;
    if ((max > 0 && connection.requests >= max) || leftMs <= 0 || isDrained) {
      connection.channel?.destroy();
      return;
    }
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      leavePending(next.cluster, this.endpoint);
      if (connection.cluster.limits.tryRequest()) return connection.attach(next.user);
      // It leaves the connection to whoever waits behind it.
      next.user.onPoolFailure("overflow", undefined);
    }
    // Not before: whoever chose the endpoint while it was one would wait for connection after
    // connection, each closed as soon as it stands.
    if (this.endpoint.isRemoved === true) {
      connection.channel?.destroy();
      return;
    }
    const keptMs = keptForMs(connection.head.keepAliveSeconds);
    connection.usableUntilMs = this.wheel.nowMs + keptMs;
    const idleMs = Math.min(cluster.idleTimeoutMs || Number.POSITIVE_INFINITY, leftMs, keptMs);
    if (idleMs < Number.POSITIVE_INFINITY) this.wheel.arm(connection.idleDeadline, idleMs);
    this.#idle.push(connection);
  }

  onConnectionClosed(connection: UpstreamConnection, error: ChannelError | undefined): void {
    this.#forget(connection, error);
    this.#tell();
  }

  #forget(connection: UpstreamConnection, error: ChannelError | undefined): void {
    this.#open--;
    countConnection(this.endpoint, -1);
    this.#upstreams.onClosed(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (connection.isCounted) connection.cluster.limits.releaseConnection();
    const { counters } = connection.cluster;
    counters.onConnectionClosed(connection.endedAfter(this.wheel.nowMs, error));
    if (connection.isConnected) {
      this.#connectForWaiting();
      return this.#leaveIfEmpty();
    }
    this.#connecting--;
    // One refused connection speaks for the endpoint: whoever waits may try another.
    this.#failWaiting(countConnectFailure(counters, this.endpoint, error), error);
    this.#leaveIfEmpty();
  }

  #failWaiting(failure: PoolFailure, error: ChannelError | undefined): void {
    for (const { user, cluster } of this.#waiting.splice(0)) {
      leavePending(cluster, this.endpoint);
      cluster.counters.count("upstream_rq_pending_failure_eject");
      user.onPoolFailure(failure, error);
    }
  }

  /** Requests that waited for a connection which has closed need another. */
  #connectForWaiting(): void {
    const next = this.#waiting[this.#connecting];
    if (next === undefined) return;
    if (next.cluster.limits.tryConnection(this.endpoint)) this.#connect(next.cluster, true);
    else if (this.#open === 0) this.#connect(next.cluster, false);
  }

  #attach(connection: UpstreamConnection, user: UpstreamUser): void {
    if (!connection.cluster.limits.tryRequest()) {
      this.#idle.push(connection);
      user.onPoolFailure("overflow", undefined);
      return;
    }
    connection.attach(user);
  }

  #connect(cluster: UpstreamCluster, isCounted: boolean): void {
    const connection = new UpstreamConnection(this, cluster, isCounted);
    connection.generation = this.#generation;
    this.#connecting++;
    this.#open++;
    countConnection(this.endpoint, 1);
    this.#upstreams.onOpened(connection);
    cluster.counters.onConnectionOpened();
    // Where it has to show what it speaks, it is counted when it has.
    if (this.agreed === undefined) cluster.counters.count("upstream_cx_http1_total");
    connection.dialledMs = this.wheel.nowMs;
    connection.channel = this.#context.dialler.dial({
      address: this.endpoint.address,
      tls: this.endpoint.tls,
      ...this.#upstreams.offeredTo(this.endpoint, this.agreed === undefined ? "http1" : "agreed"),
      ...sourceOf(this.endpoint),
      timeoutMs: cluster.connectTimeoutMs,
      ...queueOf(cluster),
      handler: connection,
      onTcpConnect: () => {
        connection.tcpConnectedMs = this.wheel.touch();
      },
      onConnect: (channel) => {
        this.wheel.touch();
        this.#connecting--;
        const other = this.agreed?.otherFor(channel, "http1");
        if (other === undefined) this.#start(connection, channel);
        else this.#pass(connection, channel, other);
      },
    });
  }

  #start(connection: UpstreamConnection, channel: Channel): void {
    const { counters } = connection.cluster;
    if (this.agreed !== undefined) counters.count("upstream_cx_http1_total");
    connection.channel = channel;
    connection.isConnected = true;
    connection.connectedMs = this.wheel.nowMs;
    if (channel.tls !== undefined) connection.securedMs = this.wheel.nowMs;
    channel.meter = counters.meter;
    counters.onConnected(this.wheel.nowMs - connection.dialledMs);
    this.release(connection);
  }

  /** It speaks another protocol; those for whom none is being opened here go with it. */
  #pass(connection: UpstreamConnection, channel: Channel, other: SpeakingPool): void {
    this.#open--;
    this.#upstreams.onClosed(connection);
    const going = this.#waiting.splice(this.#connecting);
    for (const { cluster } of going) leavePending(cluster, this.endpoint);
    this.#leaveIfEmpty();
    this.#tell();
    other.adopt(channel, connection);
    for (const { user, cluster } of going) other.acquire(user, cluster);
  }

  adopt(
    channel: Channel,
    { cluster, isCounted, dialledMs, tcpConnectedMs }: OpenedConnection,
  ): void {
    const connection = new UpstreamConnection(this, cluster, isCounted);
    connection.generation = this.#generation;
    connection.dialledMs = dialledMs;
    connection.tcpConnectedMs = tcpConnectedMs;
    // The pool which has opened it has just let go of its own.
    this.#permit.take(cluster);
    this.#open++;
    this.#upstreams.onOpened(connection);
    channel.handler = connection;
    this.#start(connection, channel);
  }
}

/**
 * How long an idle connection can be used when its endpoint keeps it for so long (`Keep-Alive:
 * timeout=5`): a second less, or half, so that no request meets the endpoint's farewell on its way.
 */
function keptForMs(seconds: number): number {
  return seconds === 0 ? Number.POSITIVE_INFINITY : seconds * 1000 - Math.min(1000, seconds * 500);
}
