/** One data worker as the control thread sees it: a thread, what it was told, what it still owes. */
import { getCompileCacheDir } from "node:module";
import { Worker } from "node:worker_threads";

import type { Receiver } from "../../net/io-backend.ts";
import { loopUtilization } from "../../net/loop-utilization.ts";
import type { MetricBlock } from "../../telemetry/merged-metrics.ts";
import type { EndpointLoad } from "../admin/clusters.ts";
import type { TapAnswer } from "../stats/tap.ts";
import type { DrainPlan } from "../drain.ts";
import type { OverloadFlags } from "../overload.ts";
import type { ForwardedUpdate } from "./forwarding-feed.ts";
import type { FromWorker, ToWorker, WorkerStart } from "./messages.ts";

/** What a worker needs to know before it loads its code. */
export interface WorkerCode {
  /** The folder that the process's own thread keeps compiled code in; none where it keeps none. */
  readonly compileCache?: string;
}

export interface WorkerLinkOptions {
  readonly entry: URL;
  readonly start: WorkerStart;
  readonly receiver: Receiver;
  /** Of what is not an answer. */
  readonly onMessage: (link: WorkerLink, message: FromWorker) => void;
  readonly onError: (link: WorkerLink, thrown: unknown) => void;
  /** The thread has ended and runs no more. */
  readonly onExit: (link: WorkerLink, code: number) => void;
}

export class WorkerLink {
  readonly number: number;
  readonly receiver: Receiver;
  readonly ended: Promise<void>;
  /** Share of the time, since this was asked last, in which the thread did something. */
  readonly utilization: () => number;
  isReady = false;
  hasEnded = false;
  /** Known once it runs. */
  metrics: MetricBlock | undefined;
  readonly #worker: Worker;
  readonly #owed = new Map<number, (answer: FromWorker | undefined) => void>();
  #lastId = 0;

  constructor(options: WorkerLinkOptions) {
    const { start, entry, receiver } = options;
    this.number = start.number;
    this.receiver = receiver;
    const workerData = { ...start, ...workerCode() };
    this.#worker = new Worker(entry, { workerData, name: `data-${start.number}` });
    this.utilization = loopUtilization(this.#worker.performance);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#worker.on("message", (message: FromWorker) => {
      options.onMessage(this, message);
      if ("id" in message) this.#settle(message.id, message);
    });
    this.#worker.on("error", (thrown: unknown) => options.onError(this, thrown));
    this.#worker.once("exit", (code) => {
      this.hasEnded = true;
      options.onExit(this, code);
      for (const id of this.#owed.keys()) this.#settle(id, undefined);
      resolve();
    });
  }

  /** For who watches over it. */
  readonly beats = (): number => this.receiver.ring.beats;
  readonly onSilent = (isSilent: boolean): void => {
    this.receiver.isSilent = isSilent;
  };

  /** Wherever it is in its code: for one that does not answer. */
  readonly end = (): void => void this.#worker.terminate();

  post(message: ToWorker): void {
    if (!this.hasEnded) this.#worker.postMessage(message);
  }

  /** The worker's refusal; undefined when it has none, or has ended. */
  async update(
    forwarded: ForwardedUpdate,
    rows: ReadonlyMap<string, number>,
  ): Promise<string | undefined> {
    const update = { kind: "update", ...forwarded, rows } as const;
    const answer = await this.#ask((id) => ({ ...update, id }));
    return answer?.kind === "applied" ? answer.refusal : undefined;
  }

  async drain(plan: DrainPlan): Promise<void> {
    await this.#ask((id) => ({ kind: "drain", id, plan }));
  }

  /** Its news of metrics have been told by then. */
  async syncMetrics(): Promise<void> {
    await this.#ask((id) => ({ kind: "ask", id, what: "metrics" }));
  }

  async loads(): Promise<readonly EndpointLoad[]> {
    const answer = await this.#ask((id) => ({ kind: "ask", id, what: "loads" }));
    return answer?.kind === "loads" ? answer.loads : [];
  }

  /** Undefined when the worker has ended. */
  async tap(query: string): Promise<TapAnswer | undefined> {
    const answer = await this.#ask((id) => ({ kind: "tap", id, query }));
    return answer?.kind === "tapped" ? answer.answer : undefined;
  }

  #ask(make: (id: number) => ToWorker): Promise<FromWorker | undefined> {
    if (this.hasEnded) return Promise.resolve(undefined);
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<FromWorker | undefined>();
    this.#owed.set(id, resolve);
    this.post(make(id));
    return promise;
  }

  #settle(id: number, answer: FromWorker | undefined): void {
    const resolve = this.#owed.get(id);
    this.#owed.delete(id);
    resolve?.(answer);
  }
}

/** Connections are given to the least loaded, so each worker has its part of them. */
export function shareOf(
  flags: OverloadFlags | undefined,
  workers: number,
): WorkerStart["overload"] {
  if (flags === undefined) return undefined;
  return { shared: flags.shared, connectionsMax: Math.ceil(flags.connectionsMax / workers) };
}

/** Node tells the folder of its version and this user, in the one that it was given. */
function workerCode(): WorkerCode {
  const folder = getCompileCacheDir();
  if (folder === undefined) return {};
  return { compileCache: folder.slice(0, folder.lastIndexOf("/")) };
}
