/**
 * Dials with Node's sockets. A mark or a source address is set on a socket made by libc, which Node
 * then connects. TLS is `tls/client-handshake.ts`.
 */
import net from "node:net";

import type { Clock, Timer } from "../base/clock.ts";
import { formatSocketAddress, isPipe, type SocketAddress } from "../base/socket-address.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { ChannelError, TlsSession } from "./channel.ts";
import type { Dialler, DialOptions } from "./dialler.ts";
import { OpeningChannel } from "./opening-channel.ts";
import { reportFault } from "./portable/fault.ts";
import {
  localAddressOf,
  silentHandler,
  SocketChannel,
  toChannelError,
} from "./portable/socket-channel.ts";
import { openMarkedSocket } from "./sysio/socket-options.ts";
import { type ClientHandshake, startClientHandshake } from "./tls/client-handshake.ts";

export interface PortableDiallerOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** SO_MARK of every connection, so that capture lets it pass. Dialling fails where it cannot be set. */
  readonly mark?: number;
}

export function createPortableDialler(options: PortableDiallerOptions): Dialler {
  return { dial: (dial) => new Dialling(options, dial) };
}

/** With TLS it is a connection only when the peer has been verified. */
class Dialling extends OpeningChannel {
  readonly #dial: DialOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #raw: net.Socket | undefined;
  #handshake: ClientHandshake | undefined;

  constructor({ clock, log, mark }: PortableDiallerOptions, dial: DialOptions) {
    super(dial.handler, dial.address);
    this.#dial = dial;
    this.#log = log;
    this.#clock = clock;
    const socket = this.#openSocket(mark);
    if (socket === undefined) return;
    this.#raw = socket;
    if (dial.timeoutMs > 0) {
      this.#timer = clock.schedule(dial.timeoutMs, () => {
        this.#fail({
          code: "ETIMEDOUT",
          message: `connecting to ${formatSocketAddress(this.remote)} took over ${dial.timeoutMs} ms`,
        });
      });
    }
    const onError = (error: Error): void => this.#fail(toChannelError(error));
    socket.once("error", onError);
    const onClose = (): void => {
      this.#fail({ code: "ECONNRESET", message: "closed while connecting" });
    };
    socket.once("close", onClose);
    socket.once("connect", () => {
      if (this.hasFailed) return;
      socket.off("error", onError);
      socket.off("close", onClose);
      this.#onConnected(socket);
    });
    socket.setNoDelay(true);
    socket.connect(placeOf(dial.address));
  }

  protected override abandon(): void {
    this.#fail(undefined);
  }

  #openSocket(mark: number | undefined): net.Socket | undefined {
    const { sourceAddress, keepAlive, address, writeQueueBytesMax = 65_536 } = this.#dial;
    const { socketOptions = [] } = this.#dial;
    const options = { allowHalfOpen: true, highWaterMark: writeQueueBytesMax };
    const isPlain = mark === undefined && sourceAddress === undefined && keepAlive === undefined;
    // Nothing of that is for Unix sockets, which no capture sees.
    const isAsked = !isPlain || socketOptions.length > 0;
    if (!isAsked || isPipe(address.address)) return new net.Socket(options);
    const destination = address.address;
    const opened = openMarkedSocket({
      destination,
      transport: "tcp",
      mark,
      sourceAddress,
      keepAlive,
      socketOptions,
    });
    if ("fd" in opened) {
      // Without `manualStart` Node reads from the socket, which is not connected yet, and fails.
      const adopted = { ...options, fd: opened.fd, manualStart: true };
      return new net.Socket(adopted);
    }
    this.#fail({
      code: opened.isSource === true ? "source-address" : "socket-mark",
      message: `cannot connect to ${formatSocketAddress(address)}: ${opened.refusal}`,
    });
    return undefined;
  }

  #onConnected(socket: net.Socket): void {
    const { tls, alpn, preface } = this.#dial;
    this.#dial.onTcpConnect?.();
    if (preface !== undefined) socket.write(preface(localAddressOf(socket)));
    if (tls === undefined) {
      this.#open(socket, undefined);
      return;
    }
    this.#handshake = startClientHandshake({
      socket,
      peer: this.remote,
      tls,
      nowMs: this.#clock.nowMs(),
      alpn,
      onSecure: (secured, session) => this.#open(secured, session),
      onFailure: (error) => this.#fail(error),
    });
  }

  #open(socket: net.Socket, session: TlsSession | undefined): void {
    if (this.hasFailed) {
      socket.destroy();
      return;
    }
    this.#timer?.cancel();
    this.channel = new SocketChannel(socket, {
      handler: this.ownHandler,
      local: localAddressOf(socket),
      remote: this.remote,
      ...(this.#raw === undefined ? {} : { transport: this.#raw }),
      ...(session === undefined ? {} : { tls: session }),
      onFault: (thrown) => reportFault(this.#log, this.remote, thrown),
    });
    try {
      this.#dial.onConnect(this);
    } catch (thrown) {
      this.channel.destroy();
      reportFault(this.#log, this.remote, thrown);
    }
  }

  /** Ends what has not become a connection; tells the handler later, as every backend does. */
  #fail(error: ChannelError | undefined): void {
    if (this.hasFailed || this.channel !== undefined) return;
    this.hasFailed = true;
    this.#timer?.cancel();
    this.#raw?.on("error", () => {});
    this.#raw?.destroy();
    this.#handshake?.abort(error !== undefined);
    queueMicrotask(() => {
      const { handler } = this;
      this.ownHandler = silentHandler;
      try {
        handler.onClose(error);
      } catch (thrown) {
        reportFault(this.#log, this.remote, thrown);
      }
    });
  }
}

function placeOf({ address, port }: SocketAddress): net.SocketConnectOpts {
  if (!isPipe(address)) return { host: address, port };
  return { path: address.startsWith("@") ? `\0${address.slice(1)}` : address };
}
