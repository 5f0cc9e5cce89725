/**
 * A channel from before its connection exists; afterwards it passes everything on. Bytes may pass only
 * once there is one: those from before would reach a peer that nobody has verified.
 */
import { assert } from "../base/assert.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { ByteMeter, Channel, ChannelHandler } from "./channel.ts";

export abstract class OpeningChannel implements Channel {
  readonly #remote: SocketAddress;
  readonly #local: SocketAddress;
  protected ownHandler: ChannelHandler;
  /** What it has become. */
  protected channel: Channel | undefined = undefined;
  /** It has ended without becoming anything. */
  protected hasFailed = false;

  /** `remote`, `local`: where it goes, and comes from, as far as anybody knows. */
  constructor(
    handler: ChannelHandler,
    remote: SocketAddress,
    local: SocketAddress = { address: "", port: 0 },
  ) {
    this.ownHandler = handler;
    this.#remote = remote;
    this.#local = local;
  }

  /** Whoever has it wants it no more, before it has become anything. */
  protected abstract abandon(): void;

  get handler(): ChannelHandler {
    return this.channel?.handler ?? this.ownHandler;
  }

  set handler(handler: ChannelHandler) {
    this.ownHandler = handler;
    if (this.channel !== undefined) this.channel.handler = handler;
  }

  get meter(): ByteMeter | undefined {
    return this.channel?.meter;
  }

  set meter(meter: ByteMeter | undefined) {
    if (this.channel !== undefined) this.channel.meter = meter;
  }

  get remote(): SocketAddress {
    return this.channel?.remote ?? this.#remote;
  }

  get local(): SocketAddress {
    return this.channel?.local ?? this.#local;
  }

  get originalDestination(): SocketAddress {
    return this.channel?.originalDestination ?? this.#local;
  }

  get tls(): Channel["tls"] {
    return this.channel?.tls;
  }

  get queuedBytes(): number {
    return this.channel?.queuedBytes ?? 0;
  }

  get isClosed(): boolean {
    return this.hasFailed || this.channel?.isClosed === true;
  }

  write(bytes: Uint8Array): boolean {
    if (this.hasFailed) return true;
    assert(this.channel !== undefined, "write before onConnect");
    return this.channel.write(bytes);
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    if (this.hasFailed) return true;
    assert(this.channel !== undefined, "write before onConnect");
    return this.channel.writeShared(memory, length);
  }

  cork(): void {
    this.channel?.cork();
  }

  uncork(): void {
    this.channel?.uncork();
  }

  end(): void {
    if (this.channel === undefined) this.destroy();
    else this.channel.end();
  }

  destroy(how?: "reset"): void {
    if (this.channel !== undefined) this.channel.destroy(how);
    else if (!this.hasFailed) this.abandon();
  }

  pause(): void {
    this.channel?.pause();
  }

  resume(): void {
    this.channel?.resume();
  }
}
