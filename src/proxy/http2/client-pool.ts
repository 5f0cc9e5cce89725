/**
 * HTTP/2 connections to one endpoint, shared by many requests at a time. A request takes the oldest
 * connection with room for a stream; without one it waits while another is opened, within the
 * cluster's limits.
 */
import { assert } from "../../base/assert.ts";
import type { Channel, ChannelError } from "../../net/channel.ts";
import type { FrameMemory } from "../../wire/http2-frame-memory.ts";
import type { ProxyContext, UpstreamCluster, UpstreamEndpoint, UpstreamHttp2 } from "../context.ts";
import { type ForecastShare, isShort } from "../engine/forecast.ts";
import type { AgreedPool, OpenedConnection, SpeakingPool } from "../http/agreed-pool.ts";
import type { AnswerHeads } from "../http/answer-heads.ts";
import { countConnectFailure } from "../http/connection-ends.ts";
import type { DeadlineWheel } from "../http/deadline-wheel.ts";
import { countConnection, queueOf, sourceOf } from "../http/dial-options.ts";
import { type LimitedPool, PoolPermit } from "../http/pool-permit.ts";
import { leavePending, tryPending } from "../http/request-limits.ts";
import type { PoolFailure, UpstreamUser } from "../http/upstream-exchange.ts";
import { ClientConnection, type ConnectionKeeper } from "./client-connection.ts";
import { framesOf } from "./frames.ts";

/** What all pools of a data plane share. */
export interface PoolHost {
  readonly wheel: DeadlineWheel;
  readonly heads: AnswerHeads;
  offeredTo(
    endpoint: UpstreamEndpoint,
    protocol: "http2" | "agreed",
  ): { readonly alpn?: readonly string[] };
  onOpened(connection: ClientConnection): void;
  onClosed(connection: ClientConnection): void;
}

interface Waiting {
  readonly user: UpstreamUser;
  readonly cluster: UpstreamCluster;
}

export class ClientPool implements SpeakingPool, ConnectionKeeper, LimitedPool {
  /** Where a connection may turn out to speak another protocol. */
  agreed: AgreedPool | undefined = undefined;
  readonly wheel: DeadlineWheel;
  readonly frames: FrameMemory;
  readonly heads: AnswerHeads;
  readonly endpoint: UpstreamEndpoint;
  readonly #context: ProxyContext;
  readonly #upstreams: PoolHost;
  /** Where the cluster foresees requests. */
  readonly #forecast: ForecastShare | undefined;
  /** Those that take streams, the oldest first. */
  #ready: ClientConnection[] = [];
  readonly #waiting: Waiting[] = [];
  #connecting = 0;
  /** Streams that one which is being opened is expected to take. */
  #expected = 0;
  /** Streams that there are. */
  #active = 0;
  #open = 0;
  /** One of the cluster's pools is this one, where they are counted. */
  readonly #permit = new PoolPermit(this);

  constructor(
    endpoint: UpstreamEndpoint,
    context: ProxyContext,
    ...[upstreams, forecast]: [upstreams: PoolHost, forecast?: ForecastShare | undefined]
  ) {
    this.endpoint = endpoint;
    this.#context = context;
    this.#upstreams = upstreams;
    this.#forecast = forecast;
    this.wheel = upstreams.wheel;
    this.heads = upstreams.heads;
    this.frames = framesOf(context);
  }

  acquire(user: UpstreamUser, cluster: UpstreamCluster, isFresh = false): void {
    this.#acquire(user, cluster, isFresh);
    this.#tell();
  }

  #acquire(user: UpstreamUser, cluster: UpstreamCluster, isFresh: boolean): void {
    let isToBeTold = false;
    for (const connection of this.#ready) {
      if (connection.capacity <= 0 || (isFresh && connection.requests > 0)) continue;
      isToBeTold = mustBeTold(user, connection);
      if (!isToBeTold) return this.#attach(connection, user);
    }
    if (!this.#permit.take(cluster)) return user.onPoolFailure("no-pool", undefined);
    if (!tryPending(cluster, this.endpoint)) {
      this.#leaveIfEmpty();
      return user.onPoolFailure("overflow", undefined);
    }
    this.#waiting.push({ user, cluster });
    if (!isToBeTold) this.#connectForWaiting();
  }

  /** Nothing is here any more: another endpoint may have a pool instead. */
  #leaveIfEmpty(): void {
    if (this.#open === 0 && this.#waiting.length === 0) this.#permit.leave();
  }

  giveUp(): boolean {
    const areIdle = this.#ready.length === this.#open && this.#ready.every((one) => one.isIdle);
    if (this.#waiting.length > 0 || !areIdle) return false;
    this.drain();
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

  /** No connection of now carries a further request. */
  drain(): void {
    for (const connection of this.#ready.splice(0)) connection.drain();
  }

  #attach(connection: ClientConnection, user: UpstreamUser): void {
    if (user.isUpgradeRequest && !connection.allowsConnect) {
      return user.onPoolFailure("no-upgrade", undefined);
    }
    if (!connection.cluster.limits.tryRequest()) return user.onPoolFailure("overflow", undefined);
    connection.attach(user);
  }

  onCapacity(connection: ClientConnection): void {
    if (connection.isConnected && !this.#ready.includes(connection)) this.#ready.push(connection);
    while (this.#waiting.length > 0 && connection.capacity > 0) {
      const first = this.#waiting[0];
      if (first !== undefined && mustBeTold(first.user, connection)) break;
      const next = this.#waiting.shift();
      leavePending(next?.cluster, this.endpoint);
      if (next !== undefined) this.#attach(connection, next.user);
    }
    // Not before those who wait have had their turn: whoever chose the endpoint while it was one
    // would wait for connection after connection.
    if (this.endpoint.isRemoved === true) connection.drain();
    this.#tell();
  }

  /** What the cluster foresees with has changed. */
  #tell(): void {
    this.#forecast?.set(this.#waiting.length + this.#active, this.#room);
  }

  /** Streams that its connections carry or can carry; those that are being opened as many as we would begin. */
  get #room(): number {
    let room = this.#active + this.#connecting * this.#expected;
    for (const { capacity } of this.#ready) room += Math.max(0, capacity);
    return room;
  }

  foresee(cluster: UpstreamCluster, ratio: number): boolean {
    const { http2 } = cluster;
    const streams = this.#waiting.length + this.#active;
    if (http2 === undefined || !isShort({ streams, room: this.#room, ratio })) return false;
    if (!this.#permit.take(cluster)) return false;
    // As Envoy: the first is let through, and what waits elsewhere has its turn.
    const isFree = cluster.limits.tryConnection(this.endpoint);
    if (isFree || this.#open === 0) this.#connect(cluster, http2, isFree);
    this.#tell();
    return isFree;
  }

  /** Who waits was to have a stream there. */
  onFull(connection: ClientConnection): void {
    if (connection.isIdle && this.#connecting === 0) {
      // It takes none at all, and would say so on every further connection.
      this.onUntold("connect-failure");
    }
    this.#connectForWaiting();
  }

  onStream(change: 1 | -1): void {
    this.#active += change;
    this.endpoint.stats?.onRequest(change);
    this.#tell();
  }

  onDraining(connection: ClientConnection): void {
    const at = this.#ready.indexOf(connection);
    if (at >= 0) this.#ready.splice(at, 1);
  }

  onClosed(connection: ClientConnection, error: ChannelError | undefined): void {
    this.#forget(connection, error);
    this.#tell();
  }

  #forget(connection: ClientConnection, error: ChannelError | undefined): void {
    const { cluster } = connection;
    this.#open--;
    countConnection(this.endpoint, -1);
    this.#upstreams.onClosed(connection);
    this.onDraining(connection);
    if (connection.isCounted) cluster.limits.releaseConnection();
    cluster.counters.onConnectionClosed(connection.endedAfter(this.wheel.nowMs, error));
    if (connection.isConnected) {
      if (!connection.isTold) this.onUntold("connect-failure", error);
      this.#connectForWaiting();
      return this.#leaveIfEmpty();
    }
    this.#connecting--;
    // One refused connection speaks for the endpoint: whoever waits may try another.
    this.#failWaiting(countConnectFailure(cluster.counters, this.endpoint, error), error);
    this.#leaveIfEmpty();
  }

  onUntold(failure: PoolFailure, error?: ChannelError): void {
    for (const { user } of this.#waiting.filter((waiting) => waiting.user.isUpgradeRequest)) {
      if (this.cancel(user)) user.onPoolFailure(failure, error);
    }
    // Others waited behind them, on connections with room.
    const ready = [...this.#ready];
    for (const connection of ready) this.onCapacity(connection);
  }

  #failWaiting(failure: PoolFailure, error: ChannelError | undefined): void {
    for (const { user, cluster } of this.#waiting.splice(0)) {
      leavePending(cluster, this.endpoint);
      cluster.counters.count("upstream_rq_pending_failure_eject");
      user.onPoolFailure(failure, error);
    }
  }

  /** Connections that are being opened are expected to take as many streams as we would begin. */
  #connectForWaiting(): void {
    const next = this.#waiting[0];
    const http2 = next?.cluster.http2;
    if (next === undefined || http2 === undefined) return;
    const { cluster } = next;
    if (this.#connecting * expectedOf(cluster, http2) >= this.#waiting.length) return;
    // Over the limit of connections a request waits for one of those that are open; without any it
    // is let through, as Envoy does, or it would wait for ever.
    if (cluster.limits.tryConnection(this.endpoint)) this.#connect(cluster, http2, true);
    else if (this.#open === 0) this.#connect(cluster, http2, false);
  }

  #connect(cluster: UpstreamCluster, http2: UpstreamHttp2, isCounted: boolean): void {
    const connection = new ClientConnection(this, cluster, http2, isCounted);
    this.#connecting++;
    this.#expected = expectedOf(cluster, http2);
    this.#open++;
    countConnection(this.endpoint, 1);
    this.#upstreams.onOpened(connection);
    cluster.counters.onConnectionOpened();
    connection.dialledMs = this.wheel.nowMs;
    connection.channel = this.#context.dialler.dial({
      address: this.endpoint.address,
      tls: this.endpoint.tls,
      ...this.#upstreams.offeredTo(this.endpoint, this.agreed === undefined ? "http2" : "agreed"),
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
        const other = this.agreed?.otherFor(channel, "http2");
        if (other === undefined) connection.start(channel);
        else this.#pass(connection, channel, other);
      },
    });
  }

  /** It speaks another protocol; those for whom none is being opened here go with it. */
  #pass(connection: ClientConnection, channel: Channel, other: SpeakingPool): void {
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
    const { http2 } = cluster;
    assert(http2 !== undefined, "HTTP/2 was agreed on for a cluster without it");
    const connection = new ClientConnection(this, cluster, http2, isCounted);
    connection.dialledMs = dialledMs;
    connection.tcpConnectedMs = tcpConnectedMs;
    // The pool which has opened it has just let go of its own.
    this.#permit.take(cluster);
    this.#open++;
    this.#upstreams.onOpened(connection);
    channel.handler = connection;
    connection.start(channel);
  }
}

function expectedOf(
  { maxRequestsPerConnection: requestsMax }: UpstreamCluster,
  { settings: { maxConcurrentStreams } }: UpstreamHttp2,
): number {
  return requestsMax > 0 ? Math.min(requestsMax, maxConcurrentStreams) : maxConcurrentStreams;
}

/** The user wants what servers need not allow, and this one has not said yet: it shall in good time. */
function mustBeTold(user: UpstreamUser, connection: ClientConnection): boolean {
  const mustWait = user.isUpgradeRequest && !connection.isTold;
  if (mustWait) connection.expectSettings();
  return mustWait;
}
