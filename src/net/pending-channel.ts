/** A channel from before it is known which one it will be. Bytes can pass once it has become that. */
import { assert } from "../base/assert.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { ByteMeter, Channel, ChannelError, ChannelHandler } from "./channel.ts";
import { reportFault } from "./portable/fault.ts";

export interface PendingOptions {
  readonly handler: ChannelHandler;
  /** Where it goes, and comes from, as far as anybody knows. */
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  /** Whoever has it wants it no more, before it has become anything: `fail()` is to follow. */
  readonly onAbandoned: () => void;
  /** Hears of handlers that throw. */
  readonly log: Logger;
}

export class PendingChannel implements Channel {
  readonly #options: PendingOptions;
  #handler: ChannelHandler;
  #channel: Channel | undefined;
  #isClosed = false;

  constructor(options: PendingOptions) {
    this.#options = options;
    this.#handler = options.handler;
  }

  /** From now on it is `channel`, unless it has ended before: then false, and that one is closed. */
  become(channel: Channel): boolean {
    if (this.#isClosed) {
      channel.destroy();
      return false;
    }
    this.#channel = channel;
    channel.handler = this.#handler;
    return true;
  }

  /** Ends what has not become anything; tells the handler later, as every backend does. */
  fail(error: ChannelError | undefined): void {
    if (this.#isClosed || this.#channel !== undefined) return;
    this.#isClosed = true;
    queueMicrotask(() => {
      try {
        this.#handler.onClose(error);
      } catch (thrown) {
        reportFault(this.#options.log, this.remote, thrown);
      }
    });
  }

  get handler(): ChannelHandler {
    return this.#channel?.handler ?? this.#handler;
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

  get remote(): SocketAddress {
    return this.#channel?.remote ?? this.#options.remote;
  }

  get local(): SocketAddress {
    return this.#channel?.local ?? this.#options.local;
  }

  get originalDestination(): SocketAddress {
    return this.#channel?.originalDestination ?? this.local;
  }

  get tls(): Channel["tls"] {
    return this.#channel?.tls;
  }

  get queuedBytes(): number {
    return this.#channel?.queuedBytes ?? 0;
  }

  get isClosed(): boolean {
    return this.#isClosed || this.#channel?.isClosed === true;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed) return true;
    // Bytes from before would reach whoever nobody has verified yet.
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
    if (this.#channel !== undefined) this.#channel.destroy(how);
    else if (!this.#isClosed) this.#options.onAbandoned();
  }

  pause(): void {
    this.#channel?.pause();
  }

  resume(): void {
    this.#channel?.resume();
  }
}
