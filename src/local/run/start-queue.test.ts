import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { StartQueue } from "./start-queue.ts";

class FakeInstance {
  isSidecarStarting = false;
  starts = 0;
  /** It has ended already: a start does nothing. */
  isGone = false;

  startSidecar(): void {
    this.starts += 1;
    this.isSidecarStarting = !this.isGone;
  }
}

test("StartQueue starts two at once, in order, the next when one is ready or has taken too long", () => {
  const clock = new FakeClock();
  const queue = new StartQueue(clock, 2);
  const all = Array.from({ length: 5 }, () => new FakeInstance());
  const started = (): readonly number[] => all.map(({ starts }) => starts);
  queue.add(...all);
  assert.deepEqual(started(), [1, 1, 0, 0, 0]);
  const [, second, third] = all;
  assert.ok(second !== undefined && third !== undefined);
  second.isSidecarStarting = false;
  third.isGone = true;
  queue.follow();
  assert.deepEqual(started(), [1, 1, 1, 1, 0]);
  clock.advance(1500);
  assert.deepEqual(started(), [1, 1, 1, 1, 1]);
  queue.close();
});
