/** A channel from before it is known which one it will be. Bytes can pass once it has become that. */
import type { SocketAddress } from "../base/socket-address.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Channel, ChannelError, ChannelHandler } from "./channel.ts";
import { OpeningChannel } from "./opening-channel.ts";
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

export class PendingChannel extends OpeningChannel {
  readonly #options: PendingOptions;

  constructor(options: PendingOptions) {
    super(options.handler, options.remote, options.local);
    this.#options = options;
  }

  /** From now on it is `channel`, unless it has ended before: then false, and that one is closed. */
  become(channel: Channel): boolean {
    if (this.hasFailed) {
      channel.destroy();
      return false;
    }
    this.channel = channel;
    channel.handler = this.ownHandler;
    return true;
  }

  /** Ends what has not become anything; tells the handler later, as every backend does. */
  fail(error: ChannelError | undefined): void {
    if (this.hasFailed || this.channel !== undefined) return;
    this.hasFailed = true;
    queueMicrotask(() => {
      try {
        this.ownHandler.onClose(error);
      } catch (thrown) {
        reportFault(this.#options.log, this.remote, thrown);
      }
    });
  }

  protected override abandon(): void {
    this.#options.onAbandoned();
  }
}
