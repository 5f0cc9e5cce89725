/**
 * A tunnel through another proxy by CONNECT on a stream of a pooled HTTP/2 connection (RFC 9113 section
 * 8.5), or by POST, whose bodies are the two directions, as a connection of its own: who asks for one gets a
 * channel, as from a dial. Which connection carries the stream, and how many streams each has, is the
 * pool's business. Where the connection has agreed on HTTP/1.1, it becomes the tunnel (`tunnel-carrier.ts`).
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel, ChannelError, ChannelHandler, TlsSession } from "../../net/channel.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import type { UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import { speaksHttp2 } from "../http/dial-options.ts";
import { MessageHeaders } from "../http/message-headers.ts";
import {
  type PoolFailure,
  streamReset,
  type UpgradedExchange,
  type UpstreamExchange,
  type UpstreamPool,
  type UpstreamReset,
  type UpstreamUser,
} from "../http/upstream-exchange.ts";
import type { Upstreams } from "../http/upstreams.ts";
import { type TunnelCarrier, takeConnection } from "./tunnel-carrier.ts";

export interface ConnectRequest {
  /** Where the tunnel leads: `:authority`. */
  readonly authority: string;
  /** Of a POST; undefined: CONNECT. */
  readonly path?: string | undefined;
  /** Names in lower case. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** Of an answer, `:status` first; names in lower case, values byte for byte. */
export type AnswerFields = readonly (readonly [name: string, value: string])[];

/** Hears what was answered, also by a proxy that opens no tunnel. */
export interface AnswerListener {
  readonly onHeaders?: (fields: AnswerFields) => void;
  readonly onTrailers?: (fields: AnswerFields) => void;
}

export interface ConnectOptions {
  readonly upstreams: Pick<Upstreams, "poolOf"> & {
    readonly wheel: Pick<Upstreams["wheel"], "touch">;
  };
  readonly cluster: UpstreamCluster;
  readonly endpoint: UpstreamEndpoint;
  readonly request: ConnectRequest;
  readonly answer?: AnswerListener | undefined;
  /** As of a dial: `onClose` reports failure, never during the call. */
  readonly handler: ChannelHandler;
  /** The proxy on the way has answered 2xx: from now on bytes pass. */
  readonly onConnect: (channel: ConnectChannel) => void;
}

/** `ECONNREFUSED` of a proxy that is there and says no; its status stands in the message. */
export const tunnelRefused = "tunnel-refused";
/** The cluster's limits leave no room. */
export const tunnelOverflow = "tunnel-overflow";

export function openConnectChannel(options: ConnectOptions): ConnectChannel {
  const channel = new ConnectChannel();
  channel.start(options);
  return channel;
}

const silent: ChannelHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};

const nowhere: SocketAddress = { address: "", port: 0 };
const noFields = { expectedMs: 0, count: 0, isUpgrade: false };

export class ConnectChannel implements Channel, UpstreamUser {
  readonly isHeadRequest = false;
  readonly isUpgradeRequest = false;
  readonly isTunnel = true;
  handler: ChannelHandler = silent;
  isClosed = false;
  #options: ConnectOptions | undefined;
  #pool: UpstreamPool | undefined;
  #exchange: TunnelCarrier | undefined;
  /** What carries the stream. */
  #carrier: Channel | undefined;
  #isOpen: boolean;
  #isPaused = false;
  /** The pool or the connection may fail while it is asked. */
  #isStarting: boolean;
  #hasEnded = false;
  #hasRemoteEnded = false;

  /** `opened`: it has been asked for and agreed to; the caller sets who handles it. */
  constructor(opened?: UpstreamExchange) {
    this.#exchange = opened;
    this.#carrier = opened?.carrier;
    this.#isOpen = opened !== undefined;
    this.#isStarting = opened === undefined;
  }

  start(options: ConnectOptions): void {
    const { upstreams, cluster, endpoint, request } = options;
    this.#options = options;
    this.handler = options.handler;
    upstreams.wheel.touch();
    this.#pool = upstreams.poolOf(endpoint, cluster, request.path === undefined);
    this.#pool.acquire(this, cluster);
    this.#isStarting = false;
  }

  get local(): SocketAddress {
    return this.#carrier?.local ?? nowhere;
  }

  get remote(): SocketAddress {
    return this.#options?.endpoint.address ?? this.#carrier?.remote ?? nowhere;
  }

  get originalDestination(): SocketAddress {
    return this.local;
  }

  get tls(): TlsSession | undefined {
    return this.#carrier?.tls;
  }

  get queuedBytes(): number {
    return this.#exchange?.queuedBytes ?? 0;
  }

  onAttached(exchange: UpstreamExchange): void {
    const { authority = "", path, fields = [] } = this.#options?.request ?? {};
    this.#exchange = exchange;
    this.#carrier = exchange.carrier;
    const headers = new MessageHeaders();
    for (const [name, value] of fields) headers.add(name, value);
    if (path === undefined) {
      const request = { method: "CONNECT", scheme: "", headers };
      exchange.sendHead(request, { authority, path: "" }, noFields, "until-close");
    } else {
      if (!this.#isHttp2(exchange)) headers.set("transfer-encoding", "chunked");
      const scheme = exchange.carrier?.tls === undefined ? "http" : "https";
      exchange.sendHead(
        { method: "POST", scheme, headers },
        { authority, path },
        noFields,
        "chunked",
      );
    }
    exchange.flush();
  }

  /** Where it is not agreed on, as configured. */
  #isHttp2({ carrier }: UpstreamExchange): boolean {
    const cluster = this.#options?.cluster;
    if (cluster?.http2?.when === "agreed") return carrier?.tls?.alpn === "h2";
    return speaksHttp2(cluster, false);
  }

  onPoolFailure(failure: PoolFailure, error: ChannelError | undefined): void {
    if (failure === "overflow" || failure === "no-pool") {
      return this.#close({ code: tunnelOverflow, message: "the cluster's limits are reached" });
    }
    this.#close(error ?? { code: "ECONNREFUSED", message: "no connection to the endpoint" });
  }

  onInterim(): void {}

  /** It was HTTP/1.1 that was agreed on: what answered is the tunnel's alone. */
  onUpgraded(upgraded: UpgradedExchange, rest: Buffer): void {
    this.#tellHead(upgraded.head);
    this.#exchange = takeConnection(upgraded, this);
    this.#open();
    if (rest.length > 0) this.onResponseData(rest, 0, rest.length);
  }

  onResponseHead(exchange: UpstreamExchange): void {
    const { status } = exchange.head;
    this.#tellHead(exchange.head);
    if (status >= 200 && status < 300) return this.#open();
    this.#exchange = undefined;
    exchange.abandon();
    this.#close({ code: tunnelRefused, message: `no tunnel: the answer is ${status}` });
  }

  #tellHead(head: Http1Head): void {
    const { cluster, answer } = this.#options ?? {};
    cluster?.counters.onResponse(head.status, 0);
    answer?.onHeaders?.([[":status", `${head.status}`], ...linesOf(head)]);
  }

  #open(): void {
    this.#isOpen = true;
    if (this.#isPaused) this.#exchange?.pause();
    this.#options?.onConnect(this);
  }

  onResponseData(chunk: Buffer, from: number, to: number): void {
    if (!this.#isOpen || this.isClosed) return;
    this.handler.onData(chunk.subarray(from, to));
  }

  onResponseEnd(): void {
    if (this.isClosed) return;
    const trailers = this.#exchange?.answerTrailers;
    if (trailers !== undefined) this.#options?.answer?.onTrailers?.(linesOf(trailers));
    this.#hasRemoteEnded = true;
    this.handler.onEnd();
  }

  onReleased(): void {
    this.#exchange = undefined;
    this.#close(undefined);
  }

  onResponseFlush(): void {}

  onUpstreamReset(kind: UpstreamReset, error: ChannelError | undefined): void {
    this.#exchange = undefined;
    if (!this.#isOpen) {
      return this.#close(error ?? { code: "ECONNRESET", message: `no tunnel: ${resets[kind]}` });
    }
    // Both have said all: that the stream was broken off behind it concerns nobody.
    if (this.#hasRemoteEnded && this.#hasEnded) return this.#close(undefined);
    const code = kind === "termination" ? "ECONNRESET" : streamReset;
    this.#close({ code, message: resets[kind] });
  }

  onUpstreamDrain(): void {
    if (!this.isClosed) this.handler.onDrain();
  }

  write(bytes: Uint8Array): boolean {
    return this.writeShared(bytes, bytes.length);
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    const exchange = this.#exchange;
    if (exchange === undefined || this.#hasEnded || length === 0) return true;
    const bytes = Buffer.isBuffer(memory)
      ? memory
      : Buffer.from(memory.buffer, memory.byteOffset, memory.byteLength);
    exchange.sendBody(bytes, 0, length);
    return exchange.flush();
  }

  cork(): void {}
  uncork(): void {}

  end(): void {
    const exchange = this.#exchange;
    if (exchange === undefined || this.#hasEnded) return;
    this.#hasEnded = true;
    exchange.sendEnd(undefined);
    this.#exchange?.flush();
  }

  destroy(how?: "reset"): void {
    if (this.isClosed) return;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange === undefined) this.#pool?.cancel(this);
    else exchange.abandon(how);
    this.#close(undefined);
  }

  pause(): void {
    this.#isPaused = true;
    this.#exchange?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#exchange?.resume();
  }

  #close(error: ChannelError | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.#isStarting) queueMicrotask(() => this.handler.onClose(error));
    else this.handler.onClose(error);
  }
}

function linesOf(head: Http1Head): AnswerFields {
  const headers = new MessageHeaders();
  headers.reset(head);
  const lines: (readonly [string, string])[] = [];
  headers.forEach((name, value) => lines.push([name, value]));
  return lines;
}

const resets: { readonly [Kind in UpstreamReset]: string } = {
  termination: "the connection that carried the tunnel is gone",
  protocol: "the proxy on the way broke the rules of HTTP/2",
  remote: "the proxy on the way broke the tunnel off",
  refused: "the proxy on the way takes no more streams",
  overlong: "the tunnel has lasted too long",
};
