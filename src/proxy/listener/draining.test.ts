import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { type DrainPlan, endingPlan } from "../drain.ts";
import { Draining } from "./draining.ts";

class Listeners {
  readonly clock: FakeClock = new FakeClock();
  readonly calls: string[] = [];
  open = 0;
  lastAcceptMs: number = Number.NEGATIVE_INFINITY;
  hasEnded = false;

  drain(plan: DrainPlan): Draining {
    const draining = new Draining({
      clock: this.clock,
      plan,
      closeSockets: () => this.calls.push("sockets"),
      closeIdle: () => this.calls.includes("idle") || this.calls.push("idle"),
      openConnections: () => this.open,
      lastAcceptMs: () => this.lastAcceptMs,
      cut: () => this.calls.push("cut"),
    });
    void draining.ended.then(() => (this.hasEnded = true));
    return draining;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("Draining ends at once where nothing was and nothing is", async () => {
  const listeners = new Listeners();
  listeners.drain(endingPlan(5000));
  await turn();
  assert.deepEqual([listeners.calls, listeners.hasEnded], [["sockets"], true]);
});

test("Draining takes connections until it has been quiet", async () => {
  const listeners = new Listeners();
  listeners.lastAcceptMs = listeners.clock.monotonicMs();
  const draining = listeners.drain(endingPlan(5000));
  listeners.clock.advance(900);
  assert.deepEqual(listeners.calls, []);
  listeners.open = 1;
  listeners.clock.advance(1500);
  assert.deepEqual(listeners.calls, ["idle"], "one is open: others may come");
  listeners.clock.advance(150);
  assert.deepEqual(listeners.calls, ["idle", "sockets"], "half its time is over");
  listeners.open = 0;
  draining.onClosed();
  await turn();
  assert.deepEqual([listeners.calls, listeners.hasEnded], [["idle", "sockets"], true]);
});

test("Draining cuts off what does not end", async () => {
  const listeners = new Listeners();
  listeners.open = 1;
  listeners.drain(endingPlan(5000));
  listeners.clock.advance(4900);
  assert.deepEqual(listeners.calls, ["idle", "sockets"]);
  listeners.clock.advance(100);
  await turn();
  assert.deepEqual([listeners.calls, listeners.hasEnded], [["idle", "sockets", "cut"], true]);
});

test("Draining for an operator closes sockets and nothing else", async () => {
  const listeners = new Listeners();
  listeners.open = 1;
  listeners.drain({ strategy: "immediate", acceptMs: 45_000 });
  listeners.clock.advance(44_900);
  assert.deepEqual(listeners.calls, []);
  listeners.clock.advance(100);
  assert.deepEqual(listeners.calls, ["sockets"]);
  listeners.clock.advance(600_000);
  await turn();
  assert.deepEqual([listeners.calls, listeners.hasEnded], [["sockets"], false]);
});
