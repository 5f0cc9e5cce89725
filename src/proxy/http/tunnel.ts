/**
 * Two connections joined byte for byte: after 101 (Upgrade) or the 200 of a CONNECT, never before, so
 * that bytes a client sends early cannot reach an upstream that still speaks HTTP.
 */
import type { Channel, ChannelError, ChannelHandler } from "../../net/channel.ts";
import type { UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import type { HttpStream } from "./http-stream.ts";
import { replyUpstreamFailure } from "./upstream-failure.ts";

export interface TunnelUpstream {
  readonly channel: Channel;
  /** Counts one in flight until the tunnel ends. */
  readonly endpoint: UpstreamEndpoint | undefined;
  /** Bytes already received from the upstream. */
  readonly first: Buffer | undefined;
}

export function openTunnel(stream: HttpStream, upstream: TunnelUpstream): void {
  const { connection } = stream;
  const tunnel = new Tunnel(stream, upstream);
  const early = connection.becomeTunnel();
  connection.channel.handler = tunnel.downstream;
  upstream.channel.handler = tunnel.upstream;
  if (upstream.first !== undefined && upstream.first.length > 0) {
    tunnel.upstream.onData(upstream.first);
  }
  if (early !== undefined) tunnel.downstream.onData(early);
}

class Tunnel {
  readonly downstream: TunnelSide;
  readonly upstream: TunnelSide;
  readonly #stream: HttpStream;
  readonly #endpoint: UpstreamEndpoint | undefined;
  #open = 2;

  constructor(stream: HttpStream, upstream: TunnelUpstream) {
    this.#stream = stream;
    this.#endpoint = upstream.endpoint;
    const { channel } = stream.connection;
    this.downstream = new TunnelSide(this, channel, upstream.channel, "received");
    this.upstream = new TunnelSide(this, upstream.channel, channel, "sent");
  }

  onBytes(direction: "received" | "sent", bytes: number): void {
    const { record } = this.#stream;
    this.#stream.services.upstreams.wheel.touch();
    this.#stream.touch();
    if (direction === "received") record.bytesReceived += bytes;
    else record.bytesSent += bytes;
  }

  onSideClosed(): void {
    if (--this.#open > 0) return;
    if (this.#endpoint !== undefined) this.#endpoint.active--;
    this.#stream.services.upstreams.wheel.touch();
    this.#stream.endTunnel(this.#stream.record.responseCodeDetails);
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
    if (!this.#peer.write(Buffer.from(chunk))) this.#channel.pause();
  }

  onEnd(): void {
    this.#hasEnded = true;
    this.#peer.end();
  }

  /** What we wrote has left: the other side may send again. */
  onDrain(): void {
    this.#peer.resume();
  }

  onClose(error: ChannelError | undefined): void {
    if (error !== undefined || !this.#hasEnded) this.#peer.destroy();
    else this.#peer.end();
    this.#tunnel.onSideClosed();
  }
}

/** CONNECT: dials the endpoint, answers 200 and joins the two. */
export function openConnectTunnel(
  stream: HttpStream,
  cluster: UpstreamCluster,
  endpoint: UpstreamEndpoint,
): void {
  const { generation, services, record } = stream;
  const isCurrent = (): boolean => stream.isActive && stream.generation === generation;
  let isConnected = false;
  services.context.dialler.dial({
    address: endpoint.address,
    tls: endpoint.tls,
    timeoutMs: cluster.connectTimeoutMs,
    handler: {
      onData: () => {},
      onEnd: () => {},
      onDrain: () => {},
      onClose: (error) => {
        if (isConnected) return;
        endpoint.active--;
        cluster.counters.onConnectFailure();
        endpoint.report({ kind: "connect-failure" });
        if (!isCurrent()) return;
        services.upstreams.wheel.touch();
        replyUpstreamFailure(stream, { failure: "connect-failure", error, hasRetried: false });
      },
    },
    onConnect: (channel) => {
      isConnected = true;
      if (!isCurrent()) {
        endpoint.active--;
        channel.destroy();
        return;
      }
      services.upstreams.wheel.touch();
      record.upstreamLocalAddress = channel.local;
      record.responseCodeDetails = "via_upstream";
      stream.startConnect();
      openTunnel(stream, { channel, endpoint, first: undefined });
    },
  });
}
