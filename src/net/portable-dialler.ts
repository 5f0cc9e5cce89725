/**
 * Dials with Node's sockets. A mark or a source address is set on a socket made by libc, which Node
 * then connects. TLS is `tls/client-handshake.ts`.
 */
import net from "node:net";

import { assert } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { ByteMeter, Channel, ChannelError, ChannelHandler, TlsSession } from "./channel.ts";
import type { Dialler, DialOptions } from "./dialler.ts";
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

/**
 * A channel from before its connection exists. Bytes may pass only after `onConnect`: with TLS,
 * only when the peer has been verified.
 */
class Dialling implements Channel {
  readonly remote: SocketAddress;
  readonly #dial: DialOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #raw: net.Socket | undefined;
  #handshake: ClientHandshake | undefined;
  #channel: SocketChannel | undefined;
  #handler: ChannelHandler;
  #isClosed = false;

  constructor({ clock, log, mark }: PortableDiallerOptions, dial: DialOptions) {
    this.#dial = dial;
    this.#log = log;
    this.#clock = clock;
    this.#handler = dial.handler;
    this.remote = dial.address;
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
      if (this.#isClosed) return;
      socket.off("error", onError);
      socket.off("close", onClose);
      this.#onConnected(socket);
    });
    socket.setNoDelay(true);
    socket.connect({ host: dial.address.address, port: dial.address.port });
  }

  get handler(): ChannelHandler {
    return this.#handler;
  }

  set handler(handler: ChannelHandler) {
    this.#handler = handler;
    if (this.#channel !== undefined) this.#channel.handler = handler;
  }

  get meter(): ByteMeter | undefined {
    return this.#channel?.meter;
  }

  set meter(meter: ByteMeter | undefined) {
    if (this.#channel !== undefined) this.#channel.meter = meter;
  }

  get local(): SocketAddress {
    return this.#channel?.local ?? { address: "", port: 0 };
  }

  get originalDestination(): SocketAddress {
    return this.local;
  }

  get tls(): TlsSession | undefined {
    return this.#channel?.tls;
  }

  get queuedBytes(): number {
    return this.#channel?.queuedBytes ?? 0;
  }

  get isClosed(): boolean {
    return this.#isClosed || (this.#channel?.isClosed ?? false);
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed) return true;
    // Bytes queued before the handshake would reach a peer that nobody has verified.
    assert(this.#channel !== undefined, "write before onConnect");
    return this.#channel.write(bytes);
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    if (this.#isClosed) return true;
    assert(this.#channel !== undefined, "write before onConnect");
    return this.#channel.writeShared(memory, length);
  }

  cork(): void {
    this.#channel?.cork();
  }

  uncork(): void {
    this.#channel?.uncork();
  }

  end(): void {
    if (this.#channel === undefined) this.destroy();
    else this.#channel.end();
  }

  destroy(how?: "reset"): void {
    if (this.#channel === undefined) this.#fail(undefined);
    else this.#channel.destroy(how);
  }

  pause(): void {
    this.#channel?.pause();
  }

  resume(): void {
    this.#channel?.resume();
  }

  #openSocket(mark: number | undefined): net.Socket | undefined {
    const { sourceAddress, keepAlive, address, writeQueueBytesMax = 65_536 } = this.#dial;
    const options = { allowHalfOpen: true, highWaterMark: writeQueueBytesMax };
    const isPlain = mark === undefined && sourceAddress === undefined && keepAlive === undefined;
    if (isPlain) return new net.Socket(options);
    const destination = address.address;
    const opened = openMarkedSocket({
      destination,
      transport: "tcp",
      mark,
      sourceAddress,
      keepAlive,
    });
    if ("fd" in opened) {
      // Without `manualStart` Node reads from the socket, which is not connected yet, and fails.
      const adopted = { ...options, fd: opened.fd, manualStart: true };
      return new net.Socket(adopted);
    }
    this.#fail({
      code: "socket-mark",
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
      tls,
      nowMs: this.#clock.nowMs(),
      alpn,
      onSecure: (secured, session) => this.#open(secured, session),
      onFailure: (error) => this.#fail(error),
    });
  }

  #open(socket: net.Socket, session: TlsSession | undefined): void {
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    this.#timer?.cancel();
    this.#channel = new SocketChannel(socket, {
      handler: this.#handler,
      local: localAddressOf(socket),
      remote: this.remote,
      ...(this.#raw === undefined ? {} : { transport: this.#raw }),
      ...(session === undefined ? {} : { tls: session }),
      onFault: (thrown) => reportFault(this.#log, this.remote, thrown),
    });
    try {
      this.#dial.onConnect(this);
    } catch (thrown) {
      this.#channel.destroy();
      reportFault(this.#log, this.remote, thrown);
    }
  }

  /** Ends what has not become a connection; tells the handler later, as every backend does. */
  #fail(error: ChannelError | undefined): void {
    if (this.#isClosed || this.#channel !== undefined) return;
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#raw?.on("error", () => {});
    this.#raw?.destroy();
    this.#handshake?.abort(error !== undefined);
    queueMicrotask(() => {
      const { handler } = this;
      this.#handler = silentHandler;
      try {
        handler.onClose(error);
      } catch (thrown) {
        reportFault(this.#log, this.remote, thrown);
      }
    });
  }
}
