/**
 * Keep-alive connections to each endpoint, shared by all connection managers of a data plane. A
 * request takes the connection that was used last; without one it waits while another is opened,
 * within the cluster's limits.
 */
import type { Channel, ChannelError } from "../../net/channel.ts";
import type {
  CircuitBreakers,
  ProxyContext,
  UpstreamCluster,
  UpstreamEndpoint,
} from "../context.ts";
import { Http1Writer } from "../../wire/http1-writer.ts";
import { refuse } from "../engine/refusal.ts";
import { ClientPool } from "../http2/client-pool.ts";
import { countConnectFailure } from "./connection-ends.ts";
import { AnswerHeads } from "./answer-heads.ts";
import {
  type AgreedPool,
  isHttp2,
  type OpenedConnection,
  type SpeakingPool,
} from "./agreed-pool.ts";
import { DeadlineWheel } from "./deadline-wheel.ts";
import { countConnection, queueOf, sourceOf, speaksHttp2 } from "./dial-options.ts";
import { EndpointPools } from "./endpoint-pools.ts";
import { leavePending, tryPending } from "./request-limits.ts";
import { type RequestMemory, UpstreamConnection } from "./upstream-connection.ts";
import { ThrottledBytes } from "./throttled-bytes.ts";
import type { PoolFailure, UpstreamPool, UpstreamUser } from "./upstream-exchange.ts";

/** What the HTTP layer keeps per data plane. */
export class Upstreams {
  readonly wheel: DeadlineWheel;
  readonly memory: RequestMemory = { writer: new Http1Writer(), owner: undefined };
  readonly heads: AnswerHeads;
  readonly throttled: ThrottledBytes = new ThrottledBytes();
  readonly #context: ProxyContext;
  readonly #pools = new WeakMap<UpstreamEndpoint, EndpointPools>();
  /** Open and opening, of all pools. */
  readonly #connections = new Set<PooledConnection>();

  constructor(context: ProxyContext) {
    this.#context = context;
    this.wheel = new DeadlineWheel(context.clock);
    this.heads = new AnswerHeads(context.metrics);
  }

  /** Ends every connection and every timer. */
  close(): void {
    for (const connection of this.#connections) connection.channel?.destroy();
    this.wheel.close();
  }

  onOpened(connection: PooledConnection): void {
    this.#connections.add(connection);
  }

  onClosed(connection: PooledConnection): void {
    this.#connections.delete(connection);
  }

  #meshProtocols: readonly string[] | undefined;

  /**
   * What requests offer to proxies of a mesh, instead of what TLS contexts say for connections of any
   * kind. One for all pools: throws a refusal where another connection manager asks for others.
   */
  offerToMesh(protocols: readonly string[], path: string): void {
    const before = this.#meshProtocols;
    if (before !== undefined && before.join() !== protocols.join()) {
      refuse(path, `another connection manager offers ${before.join(", ")}`);
    }
    this.#meshProtocols = protocols;
  }

  /** As an option of a dial: what is spoken is offered, and nothing else. */
  offeredTo(
    { tls }: UpstreamEndpoint,
    protocol: "http1" | "http2" | "agreed" = "http1",
  ): { readonly alpn?: readonly string[] } {
    if (tls === undefined) return {};
    const isMesh = tls.alpn.includes("istio");
    if (protocol !== "http1") {
      if (isMesh) return { alpn: meshHttp2 };
      return tls.alpn.length === 0 ? { alpn: protocol === "http2" ? ["h2"] : either } : {};
    }
    const alpn = isMesh ? (this.#meshProtocols ?? tls.alpn) : tls.alpn;
    if (alpn === tls.alpn && !alpn.some(isHttp2)) return {};
    const offered = alpn.filter((protocol) => !isHttp2(protocol));
    return { alpn: offered.length === 0 ? ["http/1.1"] : offered };
  }

  /** `isHttp2`: the request came so. */
  poolOf(endpoint: UpstreamEndpoint, cluster: UpstreamCluster, isHttp2: boolean): UpstreamPool {
    let pools = this.#pools.get(endpoint) ?? this.#makePools(endpoint);
    if (cluster.isHigh === true) pools = pools.high;
    if (cluster.http2?.when === "agreed") return pools.agreed;
    return speaksHttp2(cluster, isHttp2) ? pools.http2 : pools.http1;
  }

  /** By itself, for its closures cost every call a context. */
  #makePools(endpoint: UpstreamEndpoint): EndpointPools {
    const pools = new EndpointPools(endpoint, {
      http1: () => new EndpointPool(endpoint, this.#context, this),
      http2: () => new ClientPool(endpoint, this.#context, this),
    });
    this.#pools.set(endpoint, pools);
    return pools;
  }
}

const upstreamsByContext = new WeakMap<ProxyContext, Upstreams>();

/** Pools are shared by everything in one data plane that reaches endpoints. */
export function upstreamsOf(context: ProxyContext): Upstreams {
  let upstreams = upstreamsByContext.get(context);
  if (upstreams === undefined) {
    upstreams = new Upstreams(context);
    upstreamsByContext.set(context, upstreams);
  }
  return upstreams;
}

/** Ends what a data plane keeps open towards endpoints. */
export function closeUpstreams(context: ProxyContext): void {
  upstreamsByContext.get(context)?.close();
  upstreamsByContext.delete(context);
}

/** As `istio.alpn` asks for: what proxies of the mesh expect of a client that speaks HTTP/2. */
const meshHttp2: readonly string[] = ["istio-h2", "istio", "h2"];
/** Where the endpoint chooses. */
const either: readonly string[] = ["h2", "http/1.1"];

interface PooledConnection {
  readonly channel: Channel | undefined;
}

interface Waiting {
  readonly user: UpstreamUser;
  readonly cluster: UpstreamCluster;
}

/** That one request may open, as in Envoy. */
const connectsMax = 3;

export class EndpointPool implements SpeakingPool {
  /** Where a connection may turn out to speak another protocol. */
  agreed: AgreedPool | undefined = undefined;
  readonly endpoint: UpstreamEndpoint;
  readonly wheel: DeadlineWheel;
  readonly memory: RequestMemory;
  readonly heads: AnswerHeads;
  readonly #context: ProxyContext;
  readonly #upstreams: Upstreams;
  /** The connection used last is last; those before it grow idle and close. */
  readonly #idle: UpstreamConnection[] = [];
  readonly #waiting: Waiting[] = [];
  #connecting = 0;
  #open = 0;
  /** One of the cluster's pools is this one, where they are counted. */
  #permit: CircuitBreakers["pools"];
  /** Connections of an earlier one carry no further request. */
  #generation = 0;

  constructor(endpoint: UpstreamEndpoint, context: ProxyContext, upstreams: Upstreams) {
    this.endpoint = endpoint;
    this.#context = context;
    this.#upstreams = upstreams;
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
    const { pools } = cluster.limits;
    if (pools !== undefined && this.#permit === undefined) {
      if (!pools.try()) return user.onPoolFailure("no-pool", undefined);
      this.#permit = pools;
    }
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

  /** Opens connections for requests to come, where the cluster wants so many for each that is there. */
  #anticipate(cluster: UpstreamCluster, max: number): void {
    const { preconnectRatio: ratio } = cluster;
    if (ratio === undefined || this.endpoint.isRemoved === true) return;
    for (let i = 0; i < max; i++) {
      const active = this.#open - this.#connecting - this.#idle.length;
      if ((this.#waiting.length + active) * ratio <= this.#open) return;
      if (!cluster.limits.tryConnection(this.endpoint)) return;
      this.#connect(cluster, true);
    }
  }

  /** For a connection that stands: the pool which has opened it has just let go of its own. */
  #keepPermit({ limits: { pools } }: UpstreamCluster): void {
    if (this.#permit === undefined && pools?.try() === true) this.#permit = pools;
  }

  /** Nothing is here any more: another endpoint may have a pool instead. */
  #leaveIfEmpty(): void {
    if (this.#permit === undefined || this.#open > 0 || this.#waiting.length > 0) return;
    this.#permit.release();
    this.#permit = undefined;
  }

  cancel(user: UpstreamUser): boolean {
    const at = this.#waiting.findIndex((waiting) => waiting.user === user);
    if (at < 0) return false;
    leavePending(this.#waiting[at]?.cluster, this.endpoint);
    const [left] = this.#waiting.splice(at, 1);
    left?.cluster.counters.count("upstream_rq_cancelled");
    this.#leaveIfEmpty();
    return true;
  }

  release(connection: UpstreamConnection): void {
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
    this.#keepPermit(cluster);
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
