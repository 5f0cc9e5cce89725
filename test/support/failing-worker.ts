/** A data worker that fails when a test says so. */
import { workerData } from "node:worker_threads";

import "../../src/proxy/workers/worker-main.ts";

export interface Failure {
  /** Of the worker that is to fail. */
  readonly number: number;
  readonly how: "throw" | "reject" | "exit" | "hang" | "memory";
  /** Of one that hangs; it never comes back unless told. */
  readonly ms?: number;
}

const channel = new BroadcastChannel("heddle-test-failures");
channel.unref();
channel.onmessage = ({ data: { number, how, ms } }: { readonly data: Failure }) => {
  if (number !== workerData.number) return;
  if (how === "hang") {
    const endMs = performance.now() + (ms ?? Number.POSITIVE_INFINITY);
    while (performance.now() < endMs);
    return;
  }
  if (how === "memory") {
    const all: object[] = [];
    for (;;) all.push(Array.from({ length: 1000 }, (_, index) => ({ index })));
  }
  if (how === "throw") throw new Error("a fault of a data worker, made by a test");
  if (how === "exit") process.exit(7);
  void Promise.reject(new Error("a rejection that nobody handles, made by a test"));
};
