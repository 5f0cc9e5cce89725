/**
 * `heddle proxy --supervised`: a process that serves nothing and therefore does not fail. It holds the
 * listening sockets of a proxy, its child, so that no connection is refused while there is none: a
 * child that crashed is started again, and SIGHUP starts a second one that takes the first one's place.
 */
import { spawn, type ChildProcess } from "node:child_process";

import { systemClock, type Timer } from "../base/clock.ts";
import { type KeptLine, openSocketKeeper, type SocketKeeper } from "../net/kept-sockets.ts";
import type { Logger } from "../telemetry/logger.ts";
import { keepCompiled } from "./compile-cache.ts";

/** A child that fails before it serves is tried again after this, twice as long each time. */
const retryMs = 100;
const retryMaxMs = 5000;

interface Child {
  readonly process: ChildProcess;
  readonly line: KeptLine;
  isReady: boolean;
  /** It was told to end, or another has taken its place. */
  isLeaving: boolean;
}

export interface ProxyKeeperOptions {
  readonly log: Logger;
  /** What a child is started with, after the program. */
  readonly args: readonly string[];
}

export class ProxyKeeper {
  /** Resolves with the status to end with, when no child is left and none is to come. */
  readonly ended: Promise<number>;
  readonly #options: ProxyKeeperOptions;
  readonly #sockets: SocketKeeper;
  readonly #resolve: (status: number) => void;
  readonly #children = new Set<Child>();
  #isEnding = false;
  #hasServed = false;
  #retryMs = retryMs;
  /** Of one that never served, while it is waited for. */
  #retry: Timer | undefined;

  constructor(options: ProxyKeeperOptions) {
    this.#options = options;
    this.#sockets = openSocketKeeper(options.log);
    const { promise, resolve } = Promise.withResolvers<number>();
    this.ended = promise;
    this.#resolve = resolve;
    this.#start();
  }

  /** Another proxy, perhaps of another version, in place of the one that serves. */
  replace(): void {
    if (this.#isEnding) return;
    const { log } = this.#options;
    if (this.#retry !== undefined || [...this.#children].some(({ isReady }) => !isReady)) {
      log.warn("another proxy is starting already; it takes this one's place");
      return;
    }
    if (!this.#sockets.canHandOn) {
      log.error("too many listening sockets to hand on: end this proxy and start another", {
        sockets: this.#sockets.size,
      });
      return;
    }
    log.info("starting another proxy in place of this one");
    this.#start();
  }

  /** Passes the wish to end on; those that leave already go on to do so, unless it is said again. */
  end(signal: NodeJS.Signals): void {
    const isSaidAgain = this.#isEnding;
    this.#isEnding = true;
    for (const child of this.#children) {
      if (isSaidAgain || !child.isLeaving) this.#dismiss(child, signal);
    }
    if (this.#children.size === 0) this.#finish(0);
  }

  #start(): void {
    const held = this.#sockets.size;
    const line = this.#sockets.openLine(() => this.#onReady(child));
    const lost = held - this.#sockets.size;
    if (lost > 0) this.#options.log.error("listening sockets are given up", { sockets: lost });
    const args = [...process.execArgv, ...this.#options.args, "--kept-sockets", "3"];
    const started = spawn(process.execPath, args, {
      stdio: ["inherit", "inherit", "inherit", line.theirs],
    });
    this.#sockets.closeOther(line.theirs);
    const child: Child = { process: started, line, isReady: false, isLeaving: false };
    this.#children.add(child);
    let isOver = false;
    const onExit = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (isOver) return;
      isOver = true;
      this.#onExit(child, code, signal);
    };
    started.once("exit", onExit);
    started.once("error", () => onExit(1, null));
  }

  #onReady(child: Child): void {
    child.isReady = true;
    this.#hasServed = true;
    this.#retryMs = retryMs;
    for (const other of this.#children) {
      // A second signal would cut off what one that leaves is still answering.
      if (other === child || other.isLeaving) continue;
      other.line.tellSucceeded();
      // What it closes from now on is open in its successor.
      other.line.close();
      this.#dismiss(other, "SIGTERM");
    }
    // The next child finds it; this process, which has loaded the same, has nothing else to do.
    keepCompiled();
  }

  #dismiss(child: Child, signal: NodeJS.Signals): void {
    child.isLeaving = true;
    child.process.kill(signal);
  }

  #onExit(child: Child, code: number | null, signal: NodeJS.Signals | null): void {
    const { log } = this.#options;
    this.#children.delete(child);
    child.line.close();
    if (child.isLeaving) {
      if (this.#isEnding && this.#children.size === 0) this.#finish(code ?? 1);
      return;
    }
    // One that never served, and has no predecessor: what is wrong is not going to mend by itself.
    if (!this.#hasServed) return this.#finish(code ?? 1);
    log.error("the proxy has ended", { code: code ?? undefined, signal: signal ?? undefined });
    // Another one serves, or is about to. Those that leave take no connections much longer.
    if ([...this.#children].some(({ isLeaving }) => !isLeaving)) return;
    if (child.isReady) return this.#start();
    this.#retry = systemClock.schedule(this.#retryMs, () => {
      this.#retry = undefined;
      if (!this.#isEnding) this.#start();
    });
    this.#retryMs = Math.min(retryMaxMs, this.#retryMs * 2);
  }

  #finish(status: number): void {
    this.#sockets.close();
    this.#resolve(status);
  }
}
