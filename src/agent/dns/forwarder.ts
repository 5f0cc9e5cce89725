/** Asks the name server outside the mesh, over TCP: one connection for each question, bounded. */
import type { Clock } from "../../base/clock.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Dialler } from "../../net/dialler.ts";
import type { Counter } from "../../telemetry/metrics.ts";
import { type DnsQuery, frameDns, isAnswerTo, unframeDns } from "../../wire/dns.ts";

export interface ForwarderOptions {
  readonly upstream: SocketAddress;
  readonly dialler: Dialler;
  readonly failures: Counter;
  /** Questions that found too many others waiting. */
  readonly overflows: Counter;
}

const concurrentMax = 256;
const timeoutMs = 5_000;

export class DnsForwarder {
  readonly #options: ForwarderOptions;
  readonly #clock: Clock;
  #waiting = 0;

  constructor(options: ForwarderOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** `question` is the message as it came. `done` gets the answer as it came, or undefined. */
  ask(query: DnsQuery, question: Uint8Array, done: (answer: Buffer | undefined) => void): void {
    if (this.#waiting >= concurrentMax) {
      this.#options.overflows.add();
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
      if (answer === undefined) this.#options.failures.add();
      done(answer);
      channel.destroy();
    };
    const timer = this.#clock.schedule(timeoutMs, () => finish(undefined));
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
