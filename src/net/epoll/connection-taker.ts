/**
 * A thread that serves connections which another one accepts: `listen()` opens nothing, it says that
 * connections of a listener may be given to this thread.
 */
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { BoundListener, ListenOptions } from "../listen.ts";
import { reportFault } from "../portable/fault.ts";
import { decodeSockaddr } from "../sysio/sockaddr.ts";
import { listenerKey } from "./connection-giver.ts";
import type { ConnectionRing } from "./connection-ring.ts";
import { AcceptedDescriptors } from "./epoll-listener.ts";
import type { Block } from "./native/block.ts";
import { readable, type Reactor, type Watched } from "./reactor.ts";

/** Taken in one turn; the rest waits in the ring while connections have theirs. */
const takesMax = 64;
const lateMs = 1000;
const nowhere = { address: "", port: 0 };

export interface ConnectionTakerOptions {
  readonly reactor: Reactor;
  readonly ring: ConnectionRing;
  readonly clock: Clock;
  readonly log: Logger;
  /** `listener` is undefined when it is served no longer. */
  readonly onServing: (key: string, listener: number | undefined) => void;
  /** Of all threads: each takes its share of a listener's limit. */
  readonly threads: number;
}

export class ConnectionTaker implements Watched {
  /** Written by the thread that accepts when something waits in the ring. */
  readonly eventfd: number;
  readonly #options: ConnectionTakerOptions;
  readonly #count: Block;
  readonly #listeners = new Map<number, AcceptedDescriptors>();
  #lastListener = 0;

  constructor(options: ConnectionTakerOptions) {
    const { reactor, ring } = options;
    this.#options = options;
    this.#count = reactor.syscalls.allocate(8);
    this.eventfd = reactor.syscalls.eventfd();
    assert(this.eventfd >= 0, "no eventfd");
    const status = reactor.add(this.eventfd, this, readable);
    assert(status === 0, "an eventfd cannot be watched");
    ring.sleep();
    // After the loop's own handle has been closed: that was asked for before this.
    process.once("exit", () => ring.tellEnd());
  }

  listen(options: ListenOptions): BoundListener {
    const { reactor, ring, clock, onServing, threads } = this.#options;
    const { on } = options;
    const connectionsMax = Math.ceil(options.connectionsMax / threads);
    const accepted = new AcceptedDescriptors(reactor, { ...options, connectionsMax }, () =>
      ring.onEnded(),
    );
    const key = listenerKey(options);
    const listener = ++this.#lastListener;
    let isServing = false;
    return {
      address: on.kind === "address" ? on : nowhere,
      serve: () => {
        if (isServing) return;
        isServing = true;
        this.#listeners.set(listener, accepted);
        onServing(key, listener);
      },
      close: async () => {
        if (isServing) onServing(key, undefined);
        isServing = false;
        // Those that were on their way when this was said are taken all the same.
        clock.schedule(lateMs, () => this.#listeners.delete(listener));
      },
    };
  }

  onEvents(): void {
    const { reactor, ring } = this.#options;
    reactor.syscalls.read(this.eventfd, this.#count, 8);
    if (ring.isEnding) {
      setImmediate(() => process.exit(0));
      return;
    }
    this.#take();
    ring.sleep();
    // What came between the last look and falling asleep was not told.
    this.#take();
  }

  onFault(thrown: unknown): void {
    reportFault(this.#options.log, nowhere, thrown);
  }

  close(): void {
    this.#options.reactor.close(this.eventfd);
  }

  #take(): void {
    const { reactor, ring } = this.#options;
    for (let takes = 0; takes < takesMax; takes++) {
      const next = ring.take();
      if (next === undefined) return;
      const { fd, listener, peer } = next;
      const accepted = this.#listeners.get(listener);
      if (accepted === undefined) {
        reactor.close(fd);
        ring.onEnded();
      } else {
        accepted.take(fd, decodeSockaddr(peer) ?? nowhere);
      }
    }
    reactor.defer({ runDeferred: () => this.#take() });
  }
}
