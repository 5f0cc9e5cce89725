/** `heddle proxy --supervised`, from the bundle, with one thread that serves or data workers. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

import { openBundle } from "../../src/cli/bundle.ts";
import { childrenOf } from "./processes.ts";

export interface SupervisedOptions {
  /** Data workers. */
  readonly concurrency: number;
  readonly drainTimeS: number;
}

export class SupervisedProxy {
  readonly keeper: ChildProcess;
  #log = "";
  #onLog: () => void = () => {};

  private constructor(keeper: ChildProcess) {
    this.keeper = keeper;
    keeper.stderr?.on("data", (chunk: Buffer) => {
      this.#log += chunk.toString();
      this.#onLog();
    });
    keeper.once("exit", () => this.#onLog());
  }

  /** Resolves when it serves. */
  static async start(
    file: string,
    { concurrency, drainTimeS }: SupervisedOptions,
  ): Promise<SupervisedProxy> {
    const { main, problem } = await openBundle();
    if (problem !== undefined) throw new Error(problem);
    const options = ["--concurrency", String(concurrency), "--drain-time-s", String(drainTimeS)];
    const node = ["--disable-warning=ExperimentalWarning", "--max-semi-space-size=1", main];
    const command = ["proxy", "--config", file, "--supervised", ...options];
    const keeper = spawn(process.execPath, [...node, ...command], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const proxy = new SupervisedProxy(keeper);
    await proxy.untilSaid(/the first complete configuration serves\n/);
    return proxy;
  }

  /** In what it and its children have written since it began. */
  untilSaid(what: RegExp): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#onLog = () => {
        if (what.test(this.#log)) resolve();
        else if (this.keeper.exitCode !== null) reject(new Error(this.#log));
      };
      this.#onLog();
    });
  }

  /** The proxies that there are. */
  children(): readonly number[] {
    return childrenOf(this.keeper.pid ?? 0);
  }

  async stop(): Promise<void> {
    if (this.keeper.exitCode !== null) return;
    const ended = once(this.keeper, "exit");
    this.keeper.kill("SIGTERM");
    await ended;
  }
}
