/**
 * Two connections joined byte for byte: after 101 (Upgrade) or the 200 of a CONNECT, never before, so
 * that bytes a client sends early cannot reach an upstream that still speaks HTTP.
 */
import type { Channel, ChannelError, ChannelHandler } from "../../net/channel.ts";
import type { UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import { countConnectFailure, endOf } from "./connection-ends.ts";
import type { DownstreamSeries } from "./downstream-series.ts";
import type { HttpStream } from "./http-stream.ts";
import { Deadline, type DeadlineOwner, type DeadlineWheel } from "./deadline-wheel.ts";
import { streamReset, type UpgradedExchange } from "./upstream-exchange.ts";
import { flag } from "./response-flags.ts";
import { poolFailures, recordBreak, replyUpstreamFailure } from "./upstream-failure.ts";
import { countConnection, queueOf, sourceOf } from "./dial-options.ts";

export function refusesUpgrade(
  { upgrade, connection, services }: HttpStream,
  { upgrades }: CompiledRoute,
): boolean {
  if (upgrade === "") return false;
  const isAllowed = upgrades.get(upgrade) ?? services.settings.upgrades.get(upgrade);
  return !connection.mayTunnel || isAllowed !== true;
}

export interface UpgradedUpstream {
  readonly upgraded: UpgradedExchange;
  readonly endpoint: UpstreamEndpoint | undefined;
  /** Bytes already received from the upstream. */
  readonly first: Buffer;
}

/** After consent: the pool's connection, or a stream of one, becomes the tunnel. */
export function openUpgradeTunnel(stream: HttpStream, upstream: UpgradedUpstream): void {
  const { upgraded, endpoint, first } = upstream;
  if (stream.upgrade === "connect") stream.answer.startConnect(upgraded.head);
  else stream.answer.startUpgrade(upgraded.head);
  const channel = upgraded.surrender();
  if (channel === undefined) return;
  const onClosed: TunnelUpstream["onClosed"] = (...how) => upgraded.onTunnelClosed(...how);
  const isOverlong = (): boolean => upgraded.isOverlong;
  openTunnel(stream, { channel, endpoint, first, onClosed, isOverlong });
}

interface TunnelUpstream {
  readonly channel: Channel;
  /** Counts one in flight until the tunnel ends. */
  readonly endpoint: UpstreamEndpoint | undefined;
  /** Bytes already received from the upstream. */
  readonly first: Buffer | undefined;
  /** The upstream's channel is closed: gives back what it held of the cluster's limits. */
  readonly onClosed: (error: ChannelError | undefined, hasPeerEnded: boolean) => void;
  /** Whether we have broken it off, because it lasted too long. */
  readonly isOverlong?: () => boolean;
}

function openTunnel(stream: HttpStream, upstream: TunnelUpstream): void {
  const { connection } = stream;
  const { channel, early, hasEnded } = connection.becomeTunnel();
  const tunnel = new Tunnel(stream, upstream, channel);
  channel.handler = tunnel.downstream;
  upstream.channel.handler = tunnel.upstream;
  if (upstream.first !== undefined && upstream.first.length > 0) {
    tunnel.upstream.onData(upstream.first);
  }
  if (early !== undefined && early.length > 0) tunnel.downstream.onData(early);
  if (hasEnded) tunnel.downstream.onEnd();
}

class Tunnel {
  readonly downstream: TunnelSide;
  readonly upstream: TunnelSide;
  readonly #stream: HttpStream;
  readonly #endpoint: UpstreamEndpoint | undefined;
  readonly #onUpstreamClosed: TunnelUpstream["onClosed"];
  readonly #isOverlong: TunnelUpstream["isOverlong"];
  /** The stream's when it became the tunnel: it may carry another request before both sides have closed. */
  readonly #generation: number;
  #open = 2;
  #first: TunnelSide | undefined;
  readonly #series: DownstreamSeries;

  constructor(stream: HttpStream, upstream: TunnelUpstream, channel: Channel) {
    this.#stream = stream;
    this.#series = stream.services.counters.downstream;
    this.#series.onTunnel(1);
    this.#generation = stream.generation;
    this.#endpoint = upstream.endpoint;
    this.#onUpstreamClosed = upstream.onClosed;
    this.#isOverlong = upstream.isOverlong;
    this.downstream = new TunnelSide(this, channel, upstream.channel, "received");
    this.upstream = new TunnelSide(this, upstream.channel, channel, "sent");
  }

  get #isCurrent(): boolean {
    return this.#stream.isActive && this.#stream.generation === this.#generation;
  }

  onBytes(direction: "received" | "sent", bytes: number): void {
    const { record } = this.#stream;
    this.#stream.services.upstreams.wheel.touch();
    if (!this.#isCurrent) return;
    this.#stream.touch();
    if (direction === "received") record.bytesReceived += bytes;
    else record.bytesSent += bytes;
  }

  /** A side begins to close. When the client is first, it has hung up. */
  onClosing(side: TunnelSide, error?: ChannelError): void {
    if (this.#first !== undefined) return;
    this.#first = side;
    if (!this.#isCurrent) return;
    const { record } = this.#stream;
    if (side === this.upstream) {
      if (this.#isOverlong?.() === true) return recordBreak(record, "upstream-overlong");
      if (error === undefined) return;
      const isStream = error.code === streamReset;
      return recordBreak(record, isStream ? "remote-reset" : "connection-termination");
    }
    record.flags |= flag.downstreamConnectionTermination;
    record.responseCodeDetails = "downstream_remote_disconnect";
  }

  onSideClosed(side: TunnelSide, error: ChannelError | undefined, hasPeerEnded: boolean): void {
    if (side === this.upstream) this.#onUpstreamClosed(error, hasPeerEnded);
    if (--this.#open > 0) return;
    this.#series.onTunnel(-1);
    if (this.#endpoint !== undefined) this.#endpoint.active--;
    this.#stream.services.upstreams.wheel.touch();
    if (this.#isCurrent) this.#stream.endFor(this.#stream.record.responseCodeDetails);
    this.#stream.connection.onTunnelClosed();
  }
}

/** Hands what one channel receives to the other. */
class TunnelSide implements ChannelHandler {
  readonly #tunnel: Tunnel;
  readonly #channel: Channel;
  readonly #peer: Channel;
  readonly #direction: "received" | "sent";
  #hasEnded = false;

  constructor(
    tunnel: Tunnel,
    channel: Channel,
    ...[peer, direction]: [peer: Channel, direction: "received" | "sent"]
  ) {
    this.#tunnel = tunnel;
    this.#channel = channel;
    this.#peer = peer;
    this.#direction = direction;
  }

  onData(chunk: Buffer): void {
    this.#tunnel.onBytes(this.#direction, chunk.length);
    if (!this.#peer.writeShared(chunk, chunk.length)) this.#channel.pause();
  }

  onEnd(): void {
    this.#hasEnded = true;
    this.#tunnel.onClosing(this);
    this.#peer.end();
  }

  /** What we wrote has left: the other side may send again. */
  onDrain(): void {
    this.#peer.resume();
  }

  onClose(error: ChannelError | undefined): void {
    this.#tunnel.onClosing(this, error);
    if (error !== undefined || !this.#hasEnded) this.#peer.destroy();
    else this.#peer.end();
    this.#tunnel.onSideClosed(this, error, this.#hasEnded);
  }
}

/** CONNECT: dials the endpoint, whose use is ours to end, answers 200 and joins the two. */
export function openConnectTunnel(
  stream: HttpStream,
  cluster: UpstreamCluster,
  endpoint: UpstreamEndpoint,
): void {
  const { generation, services, record } = stream;
  const { counters } = cluster;
  if (!takePermits(cluster, endpoint)) {
    endpoint.active--;
    replyUpstreamFailure(stream, {
      failure: "upstream-overflow",
      error: undefined,
      hasRetried: false,
    });
    return;
  }
  const isCurrent = (): boolean => stream.isActive && stream.generation === generation;
  countConnection(endpoint, 1);
  const { wheel } = services.upstreams;
  const dialledMs = wheel.nowMs;
  const time = new TunnelTime(cluster, wheel);
  const onClosed: TunnelUpstream["onClosed"] = (error, hasPeerEnded) => {
    time.end();
    countConnection(endpoint, -1);
    releasePermits(cluster, endpoint);
    const lengthMs = wheel.touch() - dialledMs;
    counters.onConnectionClosed(endOf({ lengthMs, hasPeerEnded, error, isBusy: false }));
  };
  let isConnected = false;
  counters.onConnectionOpened();
  services.context.dialler.dial({
    address: endpoint.address,
    tls: endpoint.tls,
    ...sourceOf(endpoint),
    timeoutMs: cluster.connectTimeoutMs,
    ...queueOf(cluster),
    handler: {
      onData: () => {},
      onEnd: () => {},
      onDrain: () => {},
      onClose: (error) => {
        onClosed(error, false);
        endpoint.active--;
        if (isConnected) return;
        const failure = poolFailures[countConnectFailure(counters, endpoint, error)];
        endpoint.report({ kind: "connect-failure" });
        if (isCurrent()) replyUpstreamFailure(stream, { failure, error, hasRetried: false });
      },
    },
    onConnect: (channel) => {
      isConnected = true;
      if (!isCurrent()) {
        channel.destroy();
        return;
      }
      channel.meter = counters.meter;
      counters.onConnected(wheel.touch() - dialledMs);
      record.upstreamLocalAddress = channel.local;
      record.upstreamRemoteAddress = channel.remote;
      record.responseCodeDetails = "via_upstream";
      counters.onUntimedResponse(200);
      stream.answer.startConnect();
      time.begin(channel);
      const isOverlong = (): boolean => time.isOver;
      openTunnel(stream, { channel, endpoint, first: undefined, onClosed, isOverlong });
    },
  });
}

/** How long a tunnel lasts whose connection no pool has, where its cluster bounds that. */
class TunnelTime implements DeadlineOwner {
  isOver = false;
  readonly #cluster: UpstreamCluster;
  readonly #wheel: DeadlineWheel;
  readonly #deadline: Deadline = new Deadline(this);
  #channel: Channel | undefined;

  constructor(cluster: UpstreamCluster, wheel: DeadlineWheel) {
    this.#cluster = cluster;
    this.#wheel = wheel;
  }

  begin(channel: Channel): void {
    const { maxStreamDurationMs = 0 } = this.#cluster;
    this.#channel = channel;
    if (maxStreamDurationMs > 0) this.#wheel.arm(this.#deadline, maxStreamDurationMs);
  }

  end(): void {
    this.#wheel.release(this.#deadline);
  }

  onDeadline(): void {
    this.isOver = true;
    this.#cluster.counters.count("upstream_rq_max_duration_reached");
    this.#channel?.destroy();
  }
}

function releasePermits({ limits }: UpstreamCluster, endpoint: UpstreamEndpoint): void {
  limits.releaseConnection();
  limits.releaseRequest();
  endpoint.stats?.onRequest(-1);
}

/** A tunnel is one connection and one request, of those that the cluster allows. */
function takePermits({ limits }: UpstreamCluster, endpoint: UpstreamEndpoint): boolean {
  if (!limits.tryConnection(endpoint)) return false;
  if (limits.tryRequest()) {
    endpoint.stats?.onRequest(1);
    return true;
  }
  limits.releaseConnection();
  return false;
}
