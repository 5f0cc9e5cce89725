/**
 * A `Channel` over a Node socket, plain or TLS. It owns the socket's events; nobody else listens to
 * them. What a handler throws ends this connection and no other.
 */
import type { Socket } from "node:net";

import { assert } from "../../base/assert.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ByteMeter, Channel, ChannelError, ChannelHandler, TlsSession } from "../channel.ts";
import { ChannelStream } from "../channel-stream.ts";
import { descriptorOf } from "../socket-handle.ts";
import { resetOnClose } from "../sysio/socket-options.ts";
import { giveCopyMemoryBack, takeCopyMemory } from "./copy-memory.ts";
import { readInPlace } from "./read-in-place.ts";

/**
 * What may wait to be sent although `write` said false, in bytes: a backstop against a writer that
 * never listens. The connection is reset beyond it.
 */
const queuedBytesMax = 64 * 1024 * 1024;

export interface SocketChannelOptions {
  readonly handler: ChannelHandler;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly originalDestination?: SocketAddress;
  readonly tls?: TlsSession;
  /** The socket that carries the TLS. */
  readonly transport?: Socket | ChannelStream;
  /** A handler threw: our mistake. The connection is already being closed. */
  readonly onFault: (thrown: unknown) => void;
}

export const silentHandler: ChannelHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};

export class SocketChannel implements Channel {
  handler: ChannelHandler;
  meter: ByteMeter | undefined = undefined;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly originalDestination: SocketAddress;
  readonly tls: TlsSession | undefined;
  readonly #socket: Socket;
  readonly #transport: Socket | ChannelStream;
  readonly #onFault: (thrown: unknown) => void;
  #error: ChannelError | undefined;
  #isReported = false;
  #isReleased = false;
  #isPaused = false;

  constructor(socket: Socket, options: SocketChannelOptions) {
    this.handler = options.handler;
    this.local = options.local;
    this.remote = options.remote;
    this.originalDestination = options.originalDestination ?? options.local;
    this.tls = options.tls;
    this.#socket = socket;
    this.#transport = options.transport ?? socket;
    this.#onFault = options.onFault;
    socket.on("end", this.#onEnd);
    socket.on("drain", this.#onDrain);
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
    readInPlace(socket, this.#onRead);
    // Starts reading. Where it is in place, these are the bytes that had to wait in the stream.
    socket.on("data", this.#onData);
  }

  write(bytes: Uint8Array): boolean {
    assert(!this.#isReleased, "write on a released channel");
    if (this.isClosed || this.#socket.writableEnded || bytes.length === 0) return true;
    this.meter?.sent.add(bytes.length);
    if (this.#socket.write(bytes)) return true;
    if (this.#socket.writableLength > queuedBytesMax) {
      this.fail({ code: "write-queue-full", message: "too much waits to be sent" });
    }
    return false;
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    const copy = takeCopyMemory(length);
    const bytes = copy.subarray(0, length);
    bytes.set(memory.length === length ? memory : memory.subarray(0, length));
    const isBelow = this.write(bytes);
    if (this.#socket.writableLength === 0) giveCopyMemoryBack(copy);
    return isBelow;
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  end(): void {
    if (!this.isClosed) this.#socket.end();
  }

  destroy(how?: "reset"): void {
    if (how === "reset") this.#reset();
    else this.#socket.destroy();
  }

  /**
   * Below TLS by an option of the socket: Node's TLS goes on using a transport that was closed under
   * it, and takes the process with it.
   */
  #reset(): void {
    if (this.#transport === this.#socket) {
      if (!this.#socket.destroyed) resetSocket(this.#socket);
      return;
    }
    if (this.#transport instanceof ChannelStream) this.#transport.isReset = true;
    else resetOnClose(descriptorOf(this.#transport));
    this.#socket.destroy();
  }

  /** Closes at once for a reason of ours, which `onClose` then tells. */
  fail(error: ChannelError): void {
    if (this.isClosed) return;
    this.#error ??= error;
    this.#socket.destroy();
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#socket.resume();
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  get isClosed(): boolean {
    return this.#isReleased || this.#socket.destroyed;
  }

  /** Gives the socket up, paused and with nobody listening; this channel is dead from here on. */
  release(): Socket {
    assert(!this.#isReleased, "release of a released channel");
    this.#socket.pause();
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.off("drain", this.#onDrain);
    this.#socket.off("error", this.#onError);
    this.#socket.off("close", this.#onClose);
    this.#isReleased = true;
    return this.#socket;
  }

  /**
   * A read into shared memory. What comes although we paused (with TLS the rest of what was decrypted)
   * waits in the stream, and so does its end behind it; false tells Node to stop reading.
   */
  readonly #onRead = (chunk: Buffer): boolean => {
    if (this.#isPaused || this.#socket.readableLength > 0) {
      return this.#socket.push(Buffer.from(chunk));
    }
    this.#onData(chunk);
    return true;
  };

  /** Without `#guard`: this runs for every chunk and shall make no closure. */
  readonly #onData = (chunk: Buffer): void => {
    try {
      this.meter?.received.add(chunk.length);
      this.handler.onData(chunk);
    } catch (thrown) {
      this.#fault(thrown);
    }
  };

  readonly #onEnd = (): void => this.#guard(() => this.handler.onEnd());

  readonly #onDrain = (): void => this.#guard(() => this.handler.onDrain());

  readonly #onError = (error: Error): void => {
    this.#error ??= toChannelError(error);
  };

  readonly #onClose = (): void => {
    if (this.#isReported) return;
    this.#isReported = true;
    this.#guard(() => this.handler.onClose(this.#error));
  };

  #guard(call: () => void): void {
    try {
      call();
    } catch (thrown) {
      this.#fault(thrown);
    }
  }

  #fault(thrown: unknown): void {
    this.#error ??= { code: "fault", message: "a handler of this connection failed" };
    this.#socket.destroy();
    this.#onFault(thrown);
  }
}

/**
 * Node's `resetAndDestroy` sends FIN first and the reset a moment later, so that the peer may read an
 * orderly end. The field that it sets for `destroy`, set by hand, leaves the FIN out.
 */
function resetSocket(socket: Socket): void {
  Reflect.set(socket, "resetAndClosing", true);
  socket.destroy();
}

export function toChannelError(error: Error): ChannelError {
  const code = "code" in error && typeof error.code === "string" ? error.code : "EUNKNOWN";
  return { code, message: error.message };
}

/** IPv4-mapped IPv6 becomes IPv4, so that rules and logs see one form; zones are dropped. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return "";
  if (address.startsWith("::ffff:") && address.includes(".")) return address.slice(7);
  const zone = address.indexOf("%");
  return zone < 0 ? address : address.slice(0, zone);
}

export function localAddressOf(socket: Socket): SocketAddress {
  return { address: plainAddress(socket.localAddress), port: socket.localPort ?? 0 };
}

export function remoteAddressOf(socket: Socket): SocketAddress {
  return { address: plainAddress(socket.remoteAddress), port: socket.remotePort ?? 0 };
}
