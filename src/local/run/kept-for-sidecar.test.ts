import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { KeptForSidecar } from "./kept-for-sidecar.ts";

class FakeKeeper {
  readonly calls: string[] = [];
  onReady: () => void = () => {};
  #next = 10;

  openLine(onReady: () => void) {
    const theirs = this.#next++;
    this.onReady = onReady;
    this.calls.push(`line ${theirs}`);
    return {
      theirs,
      tellSucceeded: () => {},
      close: () => void this.calls.push(`end of line ${theirs}`),
    };
  }

  closeOther(fd: number): void {
    this.calls.push(`close ${fd}`);
  }

  close(): void {
    this.calls.push("let go");
  }
}

function make() {
  const clock = new FakeClock();
  const keeper = new FakeKeeper();
  const kept = new KeptForSidecar(keeper, clock);
  const start = (): void => {
    kept.openLine();
    kept.onStarted();
  };
  return { clock, keeper, kept, start };
}

test("KeptForSidecar holds sockets over the end of a process, and gives each its own line", () => {
  const { clock, keeper, kept, start } = make();
  start();
  assert.deepEqual(keeper.calls.splice(0), ["line 10", "close 10"]);
  keeper.onReady();
  kept.onEnded();
  start();
  keeper.onReady();
  clock.advance(60_000);
  assert.deepEqual(keeper.calls, ["end of line 10", "line 11", "close 11"]);
});

test("KeptForSidecar lets go when nobody has served for five seconds", () => {
  const { clock, keeper, kept, start } = make();
  start();
  keeper.onReady();
  kept.onEnded();
  start();
  clock.advance(4999);
  assert(!keeper.calls.includes("let go"));
  clock.advance(1);
  assert.equal(keeper.calls.at(-1), "let go");
});

test("KeptForSidecar counts the five seconds from the first end: starts in vain do not hold them up", () => {
  const { clock, keeper, kept, start } = make();
  start();
  keeper.onReady();
  for (let second = 0; second < 5; second++) {
    kept.onEnded();
    start();
    clock.advance(1000);
  }
  assert(keeper.calls.includes("let go"));
});

test("KeptForSidecar closes a descriptor whose process could not be started", () => {
  const { keeper, kept } = make();
  kept.openLine();
  kept.onEnded();
  assert(keeper.calls.includes("close 10"));
});

test("close() lets go at once, and only once", () => {
  const { clock, keeper, kept, start } = make();
  start();
  kept.onEnded();
  kept.close();
  clock.advance(60_000);
  assert.equal(keeper.calls.filter((call) => call === "let go").length, 1);
});
