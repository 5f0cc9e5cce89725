/** A channel that counts what passes, and sees which HTTP is spoken: for listeners that log connections. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ByteMeter, Channel, ChannelHandler, TlsSession } from "../../net/channel.ts";
import { inspectHttp } from "../../wire/http-inspect.ts";

export class CountedChannel implements Channel {
  bytesReceived = 0;
  bytesSent = 0;
  /** Empty until the client has said something. */
  protocol: "" | "HTTP/1.1" | "HTTP/2" = "";
  readonly #channel: Channel;
  #handler: ChannelHandler;

  constructor(channel: Channel) {
    this.#channel = channel;
    this.#handler = channel.handler;
    channel.handler = {
      onData: (chunk) => {
        this.received(chunk);
        this.#handler.onData(chunk);
      },
      onEnd: () => this.#handler.onEnd(),
      onDrain: () => this.#handler.onDrain(),
      onClose: (error) => this.#handler.onClose(error),
    };
  }

  /** Also of what was read before the channel was counted. */
  received(chunk: Buffer): void {
    this.bytesReceived += chunk.length;
    if (this.protocol !== "" || chunk.length === 0) return;
    const found = this.tls?.alpn === "h2" ? undefined : inspectHttp(chunk);
    const isHttp1 = found !== undefined && !(found.kind === "http" && found.protocol === "h2c");
    this.protocol = isHttp1 ? "HTTP/1.1" : "HTTP/2";
  }

  get handler(): ChannelHandler {
    return this.#handler;
  }

  set handler(handler: ChannelHandler) {
    this.#handler = handler;
  }

  get meter(): ByteMeter | undefined {
    return this.#channel.meter;
  }

  set meter(meter: ByteMeter | undefined) {
    this.#channel.meter = meter;
  }

  get local(): SocketAddress {
    return this.#channel.local;
  }

  get remote(): SocketAddress {
    return this.#channel.remote;
  }

  get originalDestination(): SocketAddress {
    return this.#channel.originalDestination;
  }

  get tls(): TlsSession | undefined {
    return this.#channel.tls;
  }

  get queuedBytes(): number {
    return this.#channel.queuedBytes;
  }

  get isClosed(): boolean {
    return this.#channel.isClosed;
  }

  write(bytes: Uint8Array): boolean {
    this.bytesSent += bytes.length;
    return this.#channel.write(bytes);
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    this.bytesSent += length;
    return this.#channel.writeShared(memory, length);
  }

  cork(): void {
    this.#channel.cork();
  }

  uncork(): void {
    this.#channel.uncork();
  }

  end(): void {
    this.#channel.end();
  }

  destroy(how?: "reset"): void {
    this.#channel.destroy(how);
  }

  pause(): void {
    this.#channel.pause();
  }

  resume(): void {
    this.#channel.resume();
  }
}
