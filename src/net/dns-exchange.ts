/** Asks a name server over TCP: one connection for each question, bounded in number and time. */
import type { Clock } from "../base/clock.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import { type DnsQuery, frameDns, isAnswerTo, unframeDns } from "../wire/dns.ts";
import type { Dialler } from "./dialler.ts";

export interface DnsExchangeOptions {
  readonly upstream: SocketAddress;
  readonly dialler: Dialler;
  readonly clock: Clock;
  /** For the connection and the answer together. */
  readonly timeoutMs: number;
  readonly onFailure: () => void;
  /** A question that found too many others waiting. */
  readonly onOverflow: () => void;
}

const concurrentMax = 256;

export class DnsExchange {
  readonly #options: DnsExchangeOptions;
  #waiting = 0;

  constructor(options: DnsExchangeOptions) {
    this.#options = options;
  }

  /** `question` is the message of `query`. `done` gets the answer as it came, or undefined. */
  ask(query: DnsQuery, question: Uint8Array, done: (answer: Buffer | undefined) => void): void {
    const { clock, timeoutMs } = this.#options;
    if (this.#waiting >= concurrentMax) {
      this.#options.onOverflow();
      done(undefined);
      return;
    }
    this.#waiting += 1;
    let isDone = false;
    let received: Buffer = Buffer.alloc(0);
    const finish = (answer: Buffer | undefined): void => {
      if (isDone) return;
      isDone = true;
      timer.cancel();
      this.#waiting -= 1;
      if (answer === undefined) this.#options.onFailure();
      done(answer);
      channel.destroy();
    };
    const timer = clock.schedule(timeoutMs, () => finish(undefined));
    const channel = this.#options.dialler.dial({
      address: this.#options.upstream,
      tls: undefined,
      timeoutMs,
      onConnect: (connected) => {
        connected.write(frameDns(question));
      },
      handler: {
        onData(chunk) {
          received = Buffer.concat([received, chunk]);
          const [message] = unframeDns(received).messages;
          // Whoever answers something else is not whom we asked.
          if (message !== undefined) finish(isAnswerTo(query, message) ? message : undefined);
        },
        onEnd: () => finish(undefined),
        onDrain: () => {},
        onClose: () => finish(undefined),
      },
    });
  }
}
