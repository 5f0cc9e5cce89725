/**
 * A channel as one of Node's streams, for TLS on connections that are no sockets: tunnels, and
 * connections inside the process.
 */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";

import type { SocketAddress } from "../base/socket-address.ts";
import type { Channel, ChannelError } from "./channel.ts";

/** Takes the channel over; ends and errors pass both ways. */
export class ChannelStream extends Duplex {
  readonly remote: SocketAddress;
  /** Its channel is broken, rather than closed, when it is destroyed. */
  isReset = false;
  readonly #channel: Channel;
  #onWritten: (() => void) | undefined;

  constructor(channel: Channel) {
    super({ allowHalfOpen: true });
    this.#channel = channel;
    this.remote = channel.remote;
    channel.handler = {
      onData: (chunk) => {
        if (!this.push(Buffer.from(chunk))) channel.pause();
      },
      onEnd: () => void this.push(null),
      onDrain: () => this.#drained(),
      onClose: (error) => this.#closed(error),
    };
  }

  /** As what Node's TLS is typed for; it takes any stream. */
  get asSocket(): Socket {
    return this as unknown as Socket;
  }

  override _read(): void {
    this.#channel.resume();
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    if (this.#channel.write(chunk)) callback();
    else this.#onWritten = callback;
  }

  override _final(callback: () => void): void {
    this.#channel.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#channel.destroy(this.isReset ? "reset" : undefined);
    callback(error);
  }

  #drained(): void {
    const callback = this.#onWritten;
    this.#onWritten = undefined;
    callback?.();
  }

  #closed(error: ChannelError | undefined): void {
    if (error === undefined) this.destroy();
    else this.destroy(Object.assign(new Error(error.message), { code: error.code }));
  }
}
