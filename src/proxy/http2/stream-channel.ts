/**
 * One stream of a client's HTTP/2 connection as a connection of its own: what a tunnel through it is
 * joined to. Ends and resets are the stream's; others of its connection are not concerned.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel, ChannelError, ChannelHandler, TlsSession } from "../../net/channel.ts";
import { errorCode } from "../../wire/http2-frames.ts";
import type { Http2Stream } from "../../wire/http2-stream.ts";
import type { ServerConnection } from "./server-connection.ts";
import { isOverfull } from "./stream-sender.ts";

const silent: ChannelHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};

export class StreamChannel implements Channel {
  handler: ChannelHandler = silent;
  isClosed = false;
  readonly #connection: ServerConnection;
  readonly #wire: Http2Stream;

  constructor(connection: ServerConnection, wire: Http2Stream) {
    this.#connection = connection;
    this.#wire = wire;
  }

  get local(): SocketAddress {
    return this.#connection.channel.local;
  }

  get remote(): SocketAddress {
    return this.#connection.channel.remote;
  }

  get originalDestination(): SocketAddress {
    return this.#connection.channel.originalDestination;
  }

  get tls(): TlsSession | undefined {
    return this.#connection.channel.tls;
  }

  get queuedBytes(): number {
    return this.isClosed ? 0 : this.#wire.queuedBytes;
  }

  write(bytes: Uint8Array): boolean {
    return this.writeShared(bytes, bytes.length);
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    const wire = this.#wire;
    if (this.isClosed || wire.isLocalEnded || wire.isEndQueued) return true;
    const { sender } = this.#connection.session;
    if (isOverfull(sender, wire, length)) {
      this.#connection.counters.contentOverflows.add();
      this.#connection.session.streams.countReset();
      this.destroy();
      return true;
    }
    sender.content(wire, memory, 0, length);
    if (sender.flushSoon() && wire.queuedBytes === 0) return true;
    wire.isWaiting = true;
    return false;
  }

  cork(): void {}
  uncork(): void {}

  end(): void {
    const wire = this.#wire;
    if (this.isClosed || wire.isLocalEnded || wire.isEndQueued) return;
    this.#connection.session.sender.end(wire, undefined);
    this.#connection.flushSoon();
  }

  destroy(): void {
    if (this.isClosed) return;
    this.#connection.breakOff(this.#wire, errorCode.internal);
    this.close(undefined);
  }

  pause(): void {
    if (!this.isClosed) this.#wire.isPaused = true;
  }

  resume(): void {
    if (this.isClosed) return;
    this.#connection.session.streams.window.release(this.#wire);
    this.#connection.flushSoon();
  }

  /** The stream is over, or gone. */
  close(error: ChannelError | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.handler.onClose(error);
  }
}
