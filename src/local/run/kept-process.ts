/**
 * One process that is kept running: started again with back-off whenever it ends, until `stop()`.
 * Its output goes to a bounded log file. It is the leader of its own process group, so that signals
 * meant for the terminal do not reach it and its own children end with it.
 */
import type { ChildProcess, StdioOptions } from "node:child_process";
import { spawn } from "node:child_process";
import { statSync } from "node:fs";

import type { Clock, Timer } from "../../base/clock.ts";
import { HeddleError, messageOf } from "../../base/error.ts";
import type { LogFile } from "./log-file.ts";

export interface ProcessSpec {
  /** The program, then its arguments. */
  readonly command: readonly string[];
  readonly directory: string;
  /** The whole environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Descriptors it inherits as 4, 5, …; 3 is the IPC channel when `hasChannel`. */
  readonly descriptors?: readonly number[];
  /** Opens Node's IPC channel to it. */
  readonly hasChannel?: boolean;
}

export interface BackOff {
  readonly firstMs: number;
  readonly longestMs: number;
  /** Having run this long, the next failure counts as the first. */
  readonly stableMs: number;
}

export interface KeptProcessOptions {
  /** Asked at each start, so that a restart sees the latest. */
  readonly spec: () => ProcessSpec;
  readonly log: LogFile;
  readonly clock: Clock;
  readonly backOff: BackOff;
  readonly onStart?: (process: KeptProcess) => void;
  /** `reason` is a sentence: `ended with code 1`. The next start follows after `retryMs`. */
  readonly onExit?: (reason: string, retryMs: number) => void;
  readonly onMessage?: (message: unknown) => void;
  /** Sends the first signal of `stop()`; by default SIGTERM to the process group. */
  readonly signal?: (pid: number, signal: NodeJS.Signals) => void;
}

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "running"; readonly child: ChildProcess; readonly sinceMs: number }
  | { readonly kind: "waiting"; readonly timer: Timer }
  | { readonly kind: "stopped" };

export class KeptProcess {
  readonly #options: KeptProcessOptions;
  #state: State = { kind: "idle" };
  #failures = 0;
  #restarts = 0;
  #onEnded: (() => void)[] = [];

  constructor(options: KeptProcessOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#state.kind === "running" ? this.#state.child.pid : undefined;
  }

  /** How often it was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** How often in a row it has ended before it had run for a while. */
  get failures(): number {
    return this.#failures;
  }

  /** Whatever made it end before is over. */
  forgetFailures(): void {
    this.#failures = 0;
  }

  start(): void {
    if (this.#state.kind === "running" || this.#state.kind === "stopped") return;
    if (this.#state.kind === "waiting") this.#state.timer.cancel();
    const { clock, log, onMessage } = this.#options;
    let child: ChildProcess;
    try {
      child = startProcess(this.#options.spec());
    } catch (thrown) {
      this.#ended(`could not be started: ${messageOf(thrown)}`, 0);
      return;
    }
    const sinceMs = clock.monotonicMs();
    this.#state = { kind: "running", child, sinceMs };
    child.stdout?.on("data", (chunk: Buffer) => log.write(chunk));
    child.stderr?.on("data", (chunk: Buffer) => log.write(chunk));
    if (onMessage !== undefined) child.on("message", onMessage);
    let isOver = false;
    const over = (reason: string): void => {
      if (isOver) return;
      isOver = true;
      this.#ended(reason, clock.monotonicMs() - sinceMs);
    };
    child.once("error", (error) => {
      if (child.pid === undefined) over(`could not be started: ${error.message}`);
    });
    child.once("exit", (code, signal) => {
      over(signal === null ? `ended with code ${code}` : `ended by ${signal}`);
    });
    this.#options.onStart?.(this);
  }

  /** Over the IPC channel; silently nothing when it is not running (it is told again at its start). */
  send(message: object): void {
    if (this.#state.kind !== "running" || !this.#state.child.connected) return;
    this.#state.child.send(message, () => {
      // It ended while we spoke: its exit is handled where exits are.
    });
  }

  /** Ends it and starts it again at once, without back-off. */
  restart(): void {
    this.forgetFailures();
    if (this.#state.kind === "running") this.#signal("SIGKILL");
    else this.start();
  }

  /** Asks it to end, then after `graceMs` makes it; resolves when it is gone. For good. */
  async stop(graceMs: number): Promise<void> {
    const before = this.#state;
    if (before.kind === "waiting") before.timer.cancel();
    this.#state = before.kind === "running" ? before : { kind: "stopped" };
    if (before.kind !== "running") return;
    await new Promise<void>((resolve) => {
      const force = this.#options.clock.schedule(graceMs, () => this.#signal("SIGKILL"));
      this.#onEnded.push(() => {
        force.cancel();
        resolve();
      });
      this.#signal("SIGTERM");
    });
  }

  #signal(signal: NodeJS.Signals): void {
    const pid = this.pid;
    if (pid === undefined) return;
    if (this.#options.signal === undefined) signalGroup(pid, signal);
    else this.#options.signal(pid, signal);
  }

  #ended(reason: string, ranMs: number): void {
    const { backOff, clock, log, onExit } = this.#options;
    if (this.#onEnded.length > 0) {
      this.#state = { kind: "stopped" };
      for (const resolve of this.#onEnded.splice(0)) resolve();
      return;
    }
    this.#failures = ranMs >= backOff.stableMs ? 1 : this.#failures + 1;
    const retryMs = Math.min(backOff.longestMs, backOff.firstMs * 2 ** (this.#failures - 1));
    log.note(`${reason}; starting again in ${retryMs} ms`);
    this.#restarts += 1;
    const timer = clock.schedule(retryMs, () => this.start());
    this.#state = { kind: "waiting", timer };
    onExit?.(reason, retryMs);
  }
}

/** Signals a process group; one that is gone already is no failure. */
export function signalGroup(leader: number, signal: NodeJS.Signals): void {
  for (const target of [-leader, leader]) {
    try {
      process.kill(target, signal);
    } catch {
      // ESRCH: it has ended.
    }
  }
}

function startProcess(spec: ProcessSpec): ChildProcess {
  const [program, ...args] = spec.command;
  // Node would say that the program is missing.
  if (statSync(spec.directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new HeddleError("local.no-directory", `there is no folder ${spec.directory}`);
  }
  const stdio: StdioOptions = ["ignore", "pipe", "pipe"];
  stdio.push(spec.hasChannel === true ? "ipc" : "ignore", ...(spec.descriptors ?? []));
  return spawn(program ?? "", args, {
    cwd: spec.directory,
    env: { ...spec.environment },
    stdio,
    detached: true,
    serialization: "json",
  });
}
