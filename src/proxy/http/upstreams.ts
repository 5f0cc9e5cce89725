/**
 * Pools of connections to each endpoint, shared by all connection managers of a data plane, and what they
 * share: the wheel of deadlines, memory, what is offered to servers.
 */
import type { Channel } from "../../net/channel.ts";
import type { ProxyContext, UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import { Http1Writer } from "../../wire/http1-writer.ts";
import type { Forecast } from "../engine/forecast.ts";
import { refuse } from "../engine/refusal.ts";
import { ClientPool } from "../http2/client-pool.ts";
import { AnswerHeads } from "./answer-heads.ts";
import { type ForeseeingPool, isHttp2 } from "./agreed-pool.ts";
import { DeadlineWheel } from "./deadline-wheel.ts";
import { speaksHttp2 } from "./dial-options.ts";
import { EndpointPools } from "./endpoint-pools.ts";
import type { RequestMemory } from "./upstream-connection.ts";
import { ThrottledBytes } from "./throttled-bytes.ts";
import type { UpstreamPool } from "./upstream-exchange.ts";
import { EndpointPool } from "./upstream-pool.ts";

interface PooledConnection {
  readonly channel: Channel | undefined;
}

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

  /** For a request that has just chosen `endpoint`; `isHttp2`: it came so. */
  poolOf(endpoint: UpstreamEndpoint, cluster: UpstreamCluster, isHttp2: boolean): UpstreamPool {
    if (cluster.forecast !== undefined) this.#foresee(cluster, cluster.forecast, isHttp2);
    return this.#poolAt(endpoint, cluster, isHttp2);
  }

  /** Connections for requests to come are begun where those will go. */
  #foresee(cluster: UpstreamCluster, forecast: Forecast<UpstreamEndpoint>, isHttp2: boolean): void {
    for (let i = 0; i < foreseenMax && forecast.isShort; i++) {
      const next = forecast.next();
      if (next === undefined || next.isRemoved === true) return;
      if (!this.#poolAt(next, cluster, isHttp2).foresee(cluster, forecast.ratio)) return;
    }
  }

  #poolAt(endpoint: UpstreamEndpoint, cluster: UpstreamCluster, isHttp2: boolean): ForeseeingPool {
    let pools = this.#pools.get(endpoint) ?? this.#makePools(endpoint, cluster);
    if (cluster.isHigh === true) pools = pools.high;
    if (cluster.http2?.when === "agreed") return pools.agreed;
    return speaksHttp2(cluster, isHttp2) ? pools.http2 : pools.http1;
  }

  /** By itself, for its closures cost every call a context. */
  #makePools(endpoint: UpstreamEndpoint, { forecast }: UpstreamCluster): EndpointPools {
    const pools = new EndpointPools(endpoint, {
      http1: () => new EndpointPool(endpoint, this.#context, this, forecast?.share()),
      http2: () => new ClientPool(endpoint, this.#context, this, forecast?.share()),
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
/** That one request may have begun for others, as in Envoy. */
const foreseenMax = 3;
