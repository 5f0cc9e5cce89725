/**
 * TLS on an accepted connection whose first bytes have been read already, to choose the context by
 * its ClientHello.
 */
import type { Socket } from "node:net";
import tls from "node:tls";

import { assert } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Channel, ChannelError, TlsSession } from "./channel.ts";
import { ChannelStream } from "./channel-stream.ts";
import { InternalChannel } from "./internal-channel.ts";
import { EpollChannel } from "./epoll/epoll-channel.ts";
import { startEpollServerTls } from "./epoll/server-tls.ts";
import { reportFault } from "./portable/fault.ts";
import { silentHandler, SocketChannel } from "./portable/socket-channel.ts";
import { type ServerSide, serverContexts } from "./tls/context.ts";
import { readHello } from "./tls/hello-reader.ts";
import { describeFailure, kindOfHandshakeError, type TlsFailureKind } from "./tls/failure.ts";
import type { TlsMaterial } from "./tls/material.ts";
import { nodeFactsOf } from "./tls/node-facts.ts";
import { judgePeer } from "./tls/peer.ts";
import { expiryOfResumed, resumingServerContext } from "./tls/portable-sessions.ts";
import type { TicketTerms } from "./tls/resumption.ts";
import type { ServerTls } from "./tls-contexts.ts";

export interface ServerHandshakeOptions {
  /** Dead from the call on; the new channel comes with `onSecure`. */
  readonly channel: Channel;
  readonly tls: ServerTls;
  /** What was read of the connection so far. */
  readonly first: Buffer;
  /** What the ClientHello offers by ALPN, where it was inspected: without overlap we choose none. */
  readonly offeredAlpn: readonly string[] | undefined;
  /** The server name in the ClientHello, where it was inspected and holds one. */
  readonly requestedSni?: string | undefined;
  /** 0 means none. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onSecure: (channel: Channel) => void;
  /** The connection is closed already. */
  readonly onFailure: (error: ChannelError) => void;
}

export function startServerHandshake(options: ServerHandshakeOptions): void {
  const side = serverContexts.get(options.tls);
  assert(side !== undefined, "a server TLS context of another make");
  // Where the listener has looked, what is offered is known, be it nothing.
  if (side.context.isByName && options.offeredAlpn === undefined) {
    startByName(options, side);
    return;
  }
  start(options, side);
}

function startByName(options: ServerHandshakeOptions, side: ServerSide): void {
  const { channel, first, timeoutMs, clock, onFailure } = options;
  readHello({
    channel,
    first,
    timeoutMs,
    clock,
    onRead: ({ hello, first: read, leftMs }) => {
      const known = { offeredAlpn: hello?.alpn, requestedSni: hello?.sni };
      start({ ...options, ...known, first: read, timeoutMs: leftMs }, side);
    },
    onFailure: (kind) => {
      side.context.counters.onFailure(kind);
      const unknown = { sni: undefined, certificate: undefined };
      onFailure(describeFailure({ kind, peer: channel.remote, detail: "", ...unknown }));
    },
  });
}

function start(options: ServerHandshakeOptions, side: ServerSide): void {
  const { channel } = options;
  const openssl = channel instanceof EpollChannel ? channel.reactor.openssl : undefined;
  if (openssl !== undefined) {
    startEpollServerTls(options, side, openssl);
    return;
  }
  const handshake = new ServerHandshake(options, side, carrierOf(channel));
  handshake.start();
}

function carrierOf(channel: Channel): Socket | ChannelStream {
  if (channel instanceof InternalChannel) return new ChannelStream(channel);
  const isReleasable = channel instanceof SocketChannel || channel instanceof EpollChannel;
  assert(isReleasable, "a channel of another backend");
  return channel.release();
}

class ServerHandshake {
  readonly #options: ServerHandshakeOptions;
  readonly #side: ServerSide;
  readonly #socket: Socket | ChannelStream;
  #secured: tls.TLSSocket | undefined;
  #timer: Timer | undefined;
  #isSettled = false;

  constructor(options: ServerHandshakeOptions, side: ServerSide, socket: Socket | ChannelStream) {
    this.#options = options;
    this.#side = side;
    this.#socket = socket;
  }

  start(): void {
    const { timeoutMs, clock, first, requestedSni } = this.#options;
    const nowMs = clock.nowMs();
    const material = this.#side.context.material(requestedSni);
    if (typeof material === "string") {
      this.#fail("no-secret", material);
      return;
    }
    if (timeoutMs > 0) this.#timer = clock.schedule(timeoutMs, () => this.#fail("timeout", ""));
    // A copy: the new socket takes it only after this call.
    if (first.length > 0) this.#socket.unshift(Buffer.from(first));
    const { context, requiresCertificate, resumption } = this.#side;
    const terms = resumption?.terms(material, nowMs);
    const { alpn } = context.plan;
    const offered = this.#options.offeredAlpn;
    const isShared = offered === undefined || alpn.some((protocol) => offered.includes(protocol));
    const socket = this.#socket;
    const carrier = socket instanceof ChannelStream ? socket.asSocket : socket;
    const secured = new tls.TLSSocket(carrier, {
      isServer: true,
      secureContext:
        terms === undefined
          ? material.context
          : resumingServerContext(material, terms, requestedSni),
      requestCert: context.plan.canVerify,
      rejectUnauthorized: requiresCertificate,
      // Sharing no protocol is no failure (RFC 7301 leaves it to us; Envoy goes on too).
      ...(isShared && alpn.length > 0 ? { ALPNProtocols: [...alpn] } : {}),
    });
    this.#secured = secured;
    secured.once("error", this.#onError);
    secured.once("close", this.#onClose);
    secured.once("end", this.#onClose);
    secured.once("secure", () => this.#onHandshake(secured, material, { terms, nowMs }));
  }

  readonly #onError = (error: Error): void => {
    this.#fail(kindOfHandshakeError(error), codeOf(error));
  };

  readonly #onClose = (): void => this.#fail("closed", "");

  #onHandshake(
    secured: tls.TLSSocket,
    material: TlsMaterial,
    { terms, nowMs }: { readonly terms: TicketTerms | undefined; readonly nowMs: number },
  ): void {
    if (this.#isSettled) return;
    const { context, requiresCertificate } = this.#side;
    const { requestedSni } = this.#options;
    const isResumed = secured.isSessionReused();
    const expiry = terms === undefined ? undefined : expiryOfResumed(secured, terms, nowMs);
    const verdict = judgePeer({
      facts: nodeFactsOf(secured, secured.getPeerX509Certificate(), {
        keepsChain: this.#side.keepsPeerChain,
        hasSeveral: material.parts.certificates.length > 1,
      }),
      plan: context.plan,
      material,
      requiresCertificate,
      // As the chain was chosen by it: in lower case. OpenSSL has it as it came, and none with a
      // session of TLS 1.2.
      sni: requestedSni ?? serverNameOf(secured)?.toLowerCase(),
      verifyCode: readVerifyCode(secured) ?? expiry,
    });
    if (verdict.kind === "refused") {
      this.#fail(verdict.failure, verdict.detail);
      return;
    }
    this.#isSettled = true;
    this.#timer?.cancel();
    secured.off("error", this.#onError);
    secured.off("close", this.#onClose);
    secured.off("end", this.#onClose);
    context.counters.onHandshake(isResumed);
    this.#open(secured, verdict.session);
  }

  #open(secured: tls.TLSSocket, session: TlsSession): void {
    const { channel, log, onSecure } = this.#options;
    const opened = new SocketChannel(secured, {
      handler: silentHandler,
      local: channel.local,
      remote: channel.remote,
      originalDestination: channel.originalDestination,
      tls: session,
      transport: this.#socket,
      onFault: (thrown) => reportFault(log, channel.remote, thrown),
    });
    try {
      onSecure(opened);
    } catch (thrown) {
      opened.destroy();
      reportFault(log, channel.remote, thrown);
    }
  }

  #fail(kind: TlsFailureKind, detail: string): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#timer?.cancel();
    this.#side.context.counters.onFailure(kind);
    const certificate = this.#secured?.getPeerX509Certificate();
    const sni = serverNameOf(this.#secured);
    (this.#secured ?? this.#socket).on("error", () => {}).destroy();
    const peer = this.#options.channel.remote;
    this.#options.onFailure(describeFailure({ kind, peer, sni, certificate, detail }));
  }
}

function serverNameOf(socket: tls.TLSSocket | undefined): string | undefined {
  // Typed as a string or null; Node also says false when the client sent none.
  const name: unknown = socket === undefined ? undefined : Reflect.get(socket, "servername");
  return typeof name === "string" && name !== "" ? name : undefined;
}

/**
 * OpenSSL's verdict on the client's chain. Node's own server asks the same handle; a Node without it
 * accepts nobody.
 */
function readVerifyCode(socket: tls.TLSSocket): string | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  if (typeof handle !== "object" || handle === null) return "HANDLE_CLOSED";
  const verify: unknown = Reflect.get(handle, "verifyError");
  if (typeof verify !== "function") return "VERDICT_UNAVAILABLE";
  const error: unknown = Reflect.apply(verify, handle, []);
  if (error === null || error === undefined) return undefined;
  return error instanceof Error ? codeOf(error) : "UNKNOWN";
}

function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
