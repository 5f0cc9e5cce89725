/**
 * One proxied TCP connection: choose an endpoint, connect (again, where allowed), then carry bytes
 * both ways. Whoever writes faster than the other side reads is paused, so what waits in memory is
 * bounded by the channels' watermarks. Half-close passes through.
 */
import type { Timer } from "../../base/clock.ts";
import type { Channel, ChannelError, ChannelHandler } from "../../net/channel.ts";
import type { RequestRecord, RequestSink } from "../../telemetry/request-record.ts";
import type { FirstWords } from "../connection-home.ts";
import type { ProxyContext, UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import { ConnectionClient } from "../engine/client-ends.ts";
import type { ConnectionView } from "../engine/request.ts";
import { Hash64 } from "../engine/xx-hash.ts";
import { newConnectionId } from "../stats/connection-record.ts";
import { EarlyData, type EarlyPlan } from "./early-data.ts";
import { OwnConnection } from "./own-connection.ts";
import type { TcpCounters } from "./tcp-counters.ts";
import { TcpRecord } from "./tcp-record.ts";
import { openConnectChannel, tunnelOverflow } from "../http2/connect-channel.ts";
import { countConnectFailure } from "../http/connection-ends.ts";
import { queueOf, sourceOf } from "../http/dial-options.ts";
import { streamReset } from "../http/upstream-exchange.ts";
import { upstreamsOf } from "../http/upstreams.ts";
import { servingCluster } from "../serving-cluster.ts";
import { isCarried, TunnelAnswerReader, type TunnelPlan, writeTunnelHead } from "./tunnel.ts";

export interface TcpSettings {
  readonly direction: RequestRecord["direction"];
  readonly counters: TcpCounters;
  readonly chooseCluster: (connection: ConnectionView) => string;
  /** 0 means none. */
  readonly idleTimeoutMs: number;
  readonly durationMsMax: number;
  readonly attemptsMax: number;
  /** The client's address leads to the same endpoint each time. */
  readonly hashes: boolean;
  readonly sink: RequestSink;
  /** Connections go through another proxy; undefined: straight to the endpoint. */
  readonly tunnel: TunnelPlan | undefined;
  readonly early: EarlyPlan;
}

export interface TcpDownstream {
  readonly channel: Channel;
  readonly connection: ConnectionView;
  readonly onFirstWords?: FirstWords | undefined;
}

const progressMs = 5_000;

export class TcpSession {
  readonly #context: ProxyContext;
  readonly #settings: TcpSettings;
  readonly #downstream: Channel;
  readonly #connection: ConnectionView;
  readonly record: TcpRecord;
  readonly #avoid = new Set<UpstreamEndpoint>();
  #onFirstWords: FirstWords | undefined;
  /** Until there is a connection. */
  readonly #early: EarlyData;
  #hasDownstreamEnded = false;
  #cluster: UpstreamCluster | undefined;
  #askedCluster: UpstreamCluster | undefined;
  #endpoint: UpstreamEndpoint | undefined;
  #upstream: Channel | undefined;
  #isConnected = false;
  readonly #own: OwnConnection;
  /** The endpoint's connection carries other tunnels, too. */
  #isPooled = false;
  /** While the proxy on the way has not answered. */
  #tunnel: TunnelAnswerReader | undefined;
  /** Why it did not open the tunnel. */
  #tunnelRefusal: string | undefined;
  #isDownstreamClosed = false;
  #isUpstreamClosed = true;
  #isCut = false;
  #isEnded = false;
  #lastActiveMs: number;
  #ticker: Timer | undefined;
  #lifetime: Timer | undefined;

  constructor(context: ProxyContext, settings: TcpSettings, downstream: TcpDownstream) {
    this.#context = context;
    this.#own = new OwnConnection(context.clock);
    this.#settings = settings;
    this.#downstream = downstream.channel;
    const { early, counters } = settings;
    this.#early = new EarlyData(early, downstream.channel, counters.early);
    this.#connection = downstream.connection;
    this.#onFirstWords = downstream.onFirstWords;
    this.record = new TcpRecord(downstream.channel, downstream.connection, settings.direction);
    this.record.startMs = context.clock.nowMs();
    this.record.startMonotonicMs = context.clock.monotonicMs();
    this.#lastActiveMs = this.record.startMonotonicMs;
  }

  start(first: Buffer | undefined): void {
    this.#downstream.handler = {
      onData: (chunk) => this.#fromDownstream(chunk),
      onEnd: () => {
        this.#hasDownstreamEnded = true;
        if (this.#isConnected) this.#upstream?.end();
      },
      onDrain: () => this.#upstream?.resume(),
      onClose: (error) => this.#onDownstreamClosed(error),
    };
    if (first !== undefined && first.length > 0) {
      this.record.bytesReceived += first.length;
      this.#early.add(first);
    }
    const name = this.#settings.chooseCluster(this.#connection);
    this.record.upstreamCluster = name;
    const cluster = this.#context.clusters.get(name);
    if (cluster === undefined) {
      this.#settings.counters.unrouted.add();
      return this.#give("NC", "");
    }
    this.#askedCluster = cluster;
    this.record.clusterMetadata = cluster.metadata;
    const { durationMsMax } = this.#settings;
    if (durationMsMax > 0) {
      this.#lifetime = this.#context.clock.schedule(durationMsMax, () => {
        this.record.responseFlags = "DT";
        this.#settings.counters.overlong.add();
        this.#cut();
      });
    }
    if (!this.#early.isAwaited) return this.#connect(cluster);
    // Who never says anything is given up like a connection on which nothing moves.
    this.#schedule();
  }

  #connect(cluster: UpstreamCluster): void {
    const choice = {
      connection: this.#connection,
      hash: this.#settings.hashes ? sourceHash(this.#connection) : undefined,
      avoid: this.#avoid.size === 0 ? undefined : (one: UpstreamEndpoint) => this.#avoid.has(one),
    };
    const { tunnel } = this.#settings;
    const serving = servingCluster(cluster, choice);
    // Connections of a pool are the pool's to count, and other tunnels' as well.
    this.#isPooled = tunnel !== undefined && serving !== undefined && isCarried(tunnel, serving);
    const client = new ConnectionClient(this.#connection, !this.#isPooled);
    const endpoint = serving?.pick({ ...choice, client });
    if (serving === undefined || endpoint === undefined) return this.#give("UH", "");
    this.#cluster = serving;
    if (!this.#isPooled && !serving.limits.tryConnection(endpoint)) {
      this.#give("UO", "");
      return;
    }
    this.record.upstreamAttempts += 1;
    this.record.upstreamHost = endpoint.address;
    this.record.upstreamHostName = endpoint.hostname;
    this.record.upstreamMetadata = endpoint.metadata;
    this.#endpoint = endpoint;
    this.#isUpstreamClosed = false;
    if (tunnel !== undefined && this.#isPooled) this.#openStream(serving, endpoint, tunnel);
    else this.#dial(serving, endpoint);
  }

  /** A tunnel is a stream of a connection that others use, too. */
  #openStream(cluster: UpstreamCluster, endpoint: UpstreamEndpoint, plan: TunnelPlan): void {
    this.#upstream = openConnectChannel({
      upstreams: upstreamsOf(this.#context),
      cluster,
      endpoint,
      request: plan.ask({ connection: this.#connection, record: this.record }),
      answer: plan.keeper?.(this.#connection),
      handler: this.#handlerFor(cluster, endpoint),
      onConnect: (channel) => this.#onConnected(cluster, endpoint, channel),
    });
    // A proxy that never answers is given up like a connection on which nothing moves.
    this.#touch();
    if (this.#ticker === undefined) this.#schedule();
  }

  #dial(cluster: UpstreamCluster, endpoint: UpstreamEndpoint): void {
    this.#own.begin(cluster, endpoint);
    this.#upstream = this.#context.dialler.dial({
      address: endpoint.address,
      tls: endpoint.tls,
      ...sourceOf(endpoint),
      timeoutMs: cluster.connectTimeoutMs,
      ...queueOf(cluster),
      handler: this.#handlerFor(cluster, endpoint),
      onConnect: (channel) => {
        const { tunnel } = this.#settings;
        this.#own.onConnected(channel, cluster, endpoint);
        if (tunnel === undefined) this.#onConnected(cluster, endpoint, channel);
        else this.#openTunnel(channel, tunnel);
      },
    });
  }

  #handlerFor(cluster: UpstreamCluster, endpoint: UpstreamEndpoint): ChannelHandler {
    return {
      onData: (chunk) => this.#fromUpstream(chunk),
      onEnd: () => this.#onUpstreamEnd(),
      onDrain: () => this.#downstream.resume(),
      onClose: (error) => {
        if (this.#isConnected) this.#onUpstreamClosed(error);
        else this.#onConnectFailed(cluster, endpoint, error);
      },
    };
  }

  #openTunnel(channel: Channel, plan: TunnelPlan): void {
    this.#tunnel = new TunnelAnswerReader(plan.keeper?.(this.#connection));
    this.#tunnelRefusal = undefined;
    channel.write(writeTunnelHead(plan.ask({ connection: this.#connection, record: this.record })));
    // A proxy that never answers is given up like a connection on which nothing moves.
    this.#touch();
    if (this.#ticker === undefined) this.#schedule();
  }

  #onTunnelAnswer(chunk: Buffer): void {
    const upstream = this.#upstream;
    const answer = this.#tunnel?.read(chunk);
    if (answer === undefined || answer.kind === "more" || upstream === undefined) return;
    this.#tunnel = undefined;
    if (answer.kind === "refused") {
      this.#tunnelRefusal = answer.reason;
      upstream.destroy();
      return;
    }
    const { early } = answer;
    const cluster = this.#cluster;
    const endpoint = this.#endpoint;
    if (cluster === undefined || endpoint === undefined) return;
    this.#onConnected(cluster, endpoint, upstream);
    if (early.length > 0) this.#fromUpstream(early);
  }

  #onUpstreamEnd(): void {
    this.#own.onPeerEnded();
    if (this.#isConnected) this.#downstream.end();
    else if (this.#tunnel !== undefined) this.#upstream?.destroy();
  }

  #onConnected(cluster: UpstreamCluster, endpoint: UpstreamEndpoint, channel: Channel): void {
    const record = this.record;
    this.#isConnected = true;
    endpoint.active += 1;
    record.upstreamLocalAddress = channel.local;
    record.upstreamRemoteAddress = channel.remote;
    record.upstreamTls = channel.tls;
    record.upstreamConnectionId = newConnectionId();
    record.upstreamPeerUriSans = channel.tls?.peerUriSans ?? [];
    record.upstreamLocalUriSans = channel.tls?.localUriSans ?? [];
    this.#touch();
    this.#settings.sink.onConnected?.(record);
    if (this.#ticker === undefined) this.#schedule();
    this.#early.sendTo(channel);
    if (this.#hasDownstreamEnded) channel.end();
  }

  #onConnectFailed(
    cluster: UpstreamCluster,
    endpoint: UpstreamEndpoint,
    error: ChannelError | undefined,
  ): void {
    if (!this.#isPooled) this.#own.onClosed(cluster, endpoint, error);
    this.#isUpstreamClosed = true;
    if (this.#isCut || this.#isDownstreamClosed) {
      if (this.#isDownstreamClosed) this.#end();
      return;
    }
    if (error?.code === tunnelOverflow) return this.#give("UO", "");
    if (!this.#isPooled) countConnectFailure(cluster.counters, endpoint, error);
    endpoint.report({ kind: "connect-failure" });
    this.#avoid.add(endpoint.origin ?? endpoint);
    const asked = this.#askedCluster ?? cluster;
    if (this.record.upstreamAttempts < this.#settings.attemptsMax) return this.#connect(asked);
    asked.counters.count("upstream_cx_connect_attempts_exceeded");
    // As Envoy: the attempts are used up, also where there is only one.
    this.#give("UF,URX", this.#tunnelRefusal ?? error?.message ?? "");
  }

  #fromDownstream(chunk: Buffer): void {
    this.record.bytesReceived += chunk.length;
    this.#touch();
    if (this.#onFirstWords !== undefined) this.#tellFirstWords("client", chunk);
    const upstream = this.#upstream;
    if (!this.#isConnected || upstream === undefined) {
      const cluster = this.#early.isAwaited ? this.#askedCluster : undefined;
      this.#early.add(Buffer.from(chunk));
      return cluster === undefined ? undefined : this.#connect(cluster);
    }
    if (!upstream.writeShared(chunk, chunk.length)) this.#downstream.pause();
  }

  #tellFirstWords(by: "server" | "client", words: Buffer): void {
    this.#onFirstWords = this.#onFirstWords?.(by, words);
  }

  #fromUpstream(chunk: Buffer): void {
    if (!this.#isConnected) {
      this.#onTunnelAnswer(chunk);
      return;
    }
    const record = this.record;
    record.bytesSent += chunk.length;
    this.#touch();
    if (this.#onFirstWords !== undefined) this.#tellFirstWords("server", chunk);
    if (!this.#downstream.writeShared(chunk, chunk.length)) this.#upstream?.pause();
  }

  #onDownstreamClosed(error: ChannelError | undefined): void {
    this.#isDownstreamClosed = true;
    const upstream = this.#upstream;
    if (this.#isUpstreamClosed || upstream === undefined) this.#end();
    else if (!this.#isConnected || error !== undefined || !this.#hasDownstreamEnded) {
      upstream.destroy(isReset(error) ? "reset" : undefined);
    } else {
      upstream.end();
    }
  }

  #onUpstreamClosed(error: ChannelError | undefined): void {
    const cluster = this.#cluster;
    const endpoint = this.#endpoint;
    if (cluster !== undefined && endpoint !== undefined) {
      if (!this.#isPooled) this.#own.onClosed(cluster, endpoint, error);
      endpoint.active -= 1;
    }
    this.#isUpstreamClosed = true;
    if (error !== undefined) this.#endpoint?.report({ kind: "reset" });
    if (isReset(error) && !this.#isDownstreamClosed) this.record.responseFlags = "UR";
    if (this.#isDownstreamClosed) this.#end();
    else if (error === undefined) this.#downstream.end();
    else this.#downstream.destroy(isReset(error) ? "reset" : undefined);
    // Nobody takes what the client still sends: reading on only tells us when it closes.
    if (!this.#isDownstreamClosed) this.#downstream.resume();
  }

  /** No upstream: tells why and closes. */
  #give(flag: string, reason: string): void {
    this.record.responseFlags = flag;
    this.record.upstreamTransportFailureReason = reason;
    this.#cut();
  }

  #cut(): void {
    this.#isCut = true;
    this.#upstream?.destroy();
    // Where nobody was reached, an orderly end could be taken for an empty answer to what was said.
    const isOrderly = this.#isConnected || this.#early.isAwaited;
    this.#downstream.destroy(isOrderly ? undefined : "reset");
  }

  #touch(): void {
    this.#lastActiveMs = this.#context.clock.monotonicMs();
  }

  /** Progress reports and the idle timeout share one timer. */
  #schedule(): void {
    const { clock } = this.#context;
    const { idleTimeoutMs, sink } = this.#settings;
    const idleLeftMs = this.#lastActiveMs + idleTimeoutMs - clock.monotonicMs();
    const dueMs = idleTimeoutMs > 0 ? Math.min(progressMs, Math.max(1, idleLeftMs)) : progressMs;
    this.#ticker = clock.schedule(dueMs, () => {
      if (this.#isEnded) return;
      if (idleTimeoutMs > 0 && clock.monotonicMs() - this.#lastActiveMs >= idleTimeoutMs) {
        this.#settings.counters.idle.add();
        this.#cut();
        return;
      }
      sink.onProgress?.(this.record);
      this.#schedule();
    });
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#ticker?.cancel();
    this.#lifetime?.cancel();
    const { clock } = this.#context;
    this.record.durationMs = clock.monotonicMs() - this.record.startMonotonicMs;
    this.#settings.sink.onEnd(this.record);
  }
}

// Of one connection at a time: the balancer keeps nothing of it.
const bits = new Hash64();

function sourceHash({ sourceAddress }: ConnectionView): Hash64 {
  return bits.ofText(sourceAddress);
}

function isReset(error: ChannelError | undefined): boolean {
  return error?.code === "ECONNRESET" || error?.code === streamReset;
}
