/**
 * Dials one endpoint that has several addresses, as RFC 8305 §5 wants it: one after the other, the next
 * when the one before has failed or has taken too long, and whichever carries bytes first is it. With
 * TLS that is after the handshake, so an address where somebody else answers is no end either.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import type { Channel, ChannelError } from "./channel.ts";
import type { Dialler, DialOptions } from "./dialler.ts";
import { PendingChannel } from "./pending-channel.ts";
import { silentHandler } from "./portable/socket-channel.ts";
import type { Logger } from "../telemetry/logger.ts";

/** One way to the endpoint. */
export interface Way {
  readonly address: SocketAddress;
  /** Local address (no port) to connect from. */
  readonly sourceAddress?: string | undefined;
}

export interface Ways {
  /** In the order in which they are tried; at least one. */
  readonly all: readonly Way[];
  /** One after the first is tried now. */
  readonly onFurther: () => void;
}

export interface RacingDialOptions extends DialOptions {
  /** Instead of `address` and `sourceAddress`. */
  readonly ways?: Ways;
}

/** As Envoy; the RFC recommends 250 ms. */
const headStartMs = 300;

export interface RacingDialler extends Dialler {
  dial(options: RacingDialOptions): Channel;
}

/** `other` opens each connection. */
export function createRacingDialler(other: Dialler, clock: Clock, log: Logger): RacingDialler {
  return {
    dial(options) {
      const { ways } = options;
      return ways === undefined
        ? other.dial(options)
        : new Race(options, ways, { other, clock, log }).channel;
    },
  };
}

interface RaceTools {
  readonly other: Dialler;
  readonly clock: Clock;
  readonly log: Logger;
}

class Race {
  readonly channel: PendingChannel;
  readonly #dial: RacingDialOptions;
  readonly #ways: Ways;
  readonly #tools: RaceTools;
  /** Under way; the winner, too, until it is told. */
  readonly #attempts = new Set<Channel>();
  #next = 0;
  #headStart: Timer | undefined;
  readonly #deadline: Timer | undefined;
  #isOver = false;

  constructor(dial: RacingDialOptions, ways: Ways, tools: RaceTools) {
    this.#dial = dial;
    this.#ways = ways;
    this.#tools = tools;
    this.channel = new PendingChannel({
      handler: dial.handler,
      remote: dial.address,
      local: { address: "", port: 0 },
      onAbandoned: () => this.#fail(undefined),
      log: tools.log,
    });
    const { timeoutMs } = dial;
    if (timeoutMs > 0) {
      this.#deadline = tools.clock.schedule(timeoutMs, () => {
        const message = `connecting to ${formatSocketAddress(dial.address)} took over ${timeoutMs} ms`;
        this.#fail({ code: "ETIMEDOUT", message });
      });
    }
    this.#tryNext();
  }

  #tryNext(): void {
    const way = this.#ways.all[this.#next];
    if (way === undefined) return;
    if (this.#next > 0) this.#ways.onFurther();
    this.#next++;
    const { sourceAddress: _, ways: __, ...dial } = this.#dial;
    const attempt: Channel = this.#tools.other.dial({
      ...dial,
      address: way.address,
      ...(way.sourceAddress === undefined ? {} : { sourceAddress: way.sourceAddress }),
      // Of all of them together.
      timeoutMs: 0,
      handler: { ...silentHandler, onClose: (error) => this.#onFailed(attempt, error) },
      onConnect: (channel) => this.#onConnected(attempt, channel),
    });
    this.#attempts.add(attempt);
    if (this.#next === this.#ways.all.length) return;
    this.#headStart = this.#tools.clock.schedule(headStartMs, () => this.#tryNext());
  }

  #onConnected(attempt: Channel, channel: Channel): void {
    this.#attempts.delete(attempt);
    if (this.#isOver) return channel.destroy();
    this.#finish();
    this.channel.become(channel);
    this.#dial.onConnect(this.channel);
  }

  #onFailed(attempt: Channel, error: ChannelError | undefined): void {
    this.#attempts.delete(attempt);
    if (this.#isOver) return;
    this.#headStart?.cancel();
    this.#tryNext();
    if (this.#attempts.size === 0) this.#fail(error);
  }

  #fail(error: ChannelError | undefined): void {
    this.#finish();
    this.channel.fail(error);
  }

  /** Whoever is still on the way is too late. */
  #finish(): void {
    this.#isOver = true;
    this.#headStart?.cancel();
    this.#deadline?.cancel();
    for (const attempt of this.#attempts) attempt.destroy();
    this.#attempts.clear();
  }
}
