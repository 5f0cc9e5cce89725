import assert from "node:assert/strict";
import test from "node:test";

import { Slices, timed, type Work } from "./slices.ts";

/** Each piece of work takes 0.3 ms of a clock of its own; `turns` holds what each turn did. */
function bench() {
  let nowMs = 0;
  const turns: string[][] = [[]];
  const paused: (() => void)[] = [];
  const slices = new Slices({
    sliceMs: 1,
    clock: { monotonicMs: () => nowMs },
    pause: () => new Promise((resolve) => void paused.push(resolve)),
  });
  function* pieces(name: string, count: number): Work<Promise<void> | undefined> {
    for (let i = 1; i <= count; i++) {
      nowMs += 0.3;
      turns.at(-1)?.push(`${name}${i}`);
      if (i < count) yield;
    }
    return undefined;
  }
  return {
    slices,
    turns,
    pieces,
    clock: { monotonicMs: () => nowMs },
    nextTurn: async (): Promise<void> => {
      turns.push([]);
      for (const go of paused.splice(0)) go();
      for (let i = 0; i < 5; i++) await Promise.resolve();
    },
  };
}

test("run() does short work at once", () => {
  const { slices, turns, pieces } = bench();
  assert.equal(slices.run(pieces("a", 3)), undefined);
  assert.deepEqual(turns, [["a1", "a2", "a3"]]);
});

test("run() gives way after a slice, however much there is to do", async () => {
  const { slices, turns, pieces, nextTurn } = bench();
  let isDone = false;
  void slices.run(pieces("a", 10))?.then(() => {
    isDone = true;
  });
  while (!isDone) await nextTurn();
  assert.deepEqual(
    turns.map((turn) => turn.length),
    [4, 4, 2],
  );
});

test("run() keeps the order, and several pieces of work share a turn's slice", async () => {
  const { slices, turns, pieces, nextTurn } = bench();
  const order: string[] = [];
  const run = (name: string, count: number): void =>
    void Promise.resolve(slices.run(pieces(name, count))).then(() => order.push(name));
  run("a", 6);
  run("b", 1);
  run("c", 2);
  for (let i = 0; i < 3; i++) await nextTurn();
  assert.deepEqual(turns.slice(0, 3), [["a1", "a2", "a3", "a4"], ["a5", "a6", "b1", "c1"], ["c2"]]);
  assert.deepEqual(order, ["a", "b", "c"]);
});

test("run() does all in one go where nobody waits for the thread", () => {
  const { turns, pieces, clock } = bench();
  const slices = new Slices({ clock, isAtOnce: () => true });
  assert.equal(slices.run(pieces("a", 30)), undefined);
  assert.equal(turns[0]?.length, 30);
});

test("run() takes no second slice in the same turn", async () => {
  const { slices, turns, pieces, nextTurn } = bench();
  void slices.run(pieces("a", 4));
  void slices.run(pieces("b", 3));
  assert.deepEqual(turns, [["a1", "a2", "a3", "a4", "b1"]]);
  await nextTurn();
  assert.deepEqual(turns[1], ["b2", "b3"]);
  await nextTurn();
  assert.equal(slices.run(pieces("c", 1)), undefined);
});

test("run() goes on with the next work when one fails", async () => {
  const { slices, turns, pieces, nextTurn } = bench();
  function* failing(): Work<undefined> {
    yield;
    throw new Error("a fault");
  }
  void slices.run(pieces("a", 5));
  const failed = assert.rejects(async () => slices.run(failing()), /a fault/);
  const last = slices.run(pieces("b", 1));
  await nextTurn();
  await failed;
  await last;
  assert.deepEqual(turns[1], ["a5", "b1"]);
  assert.throws(() => slices.run(failing()), /a fault/);
  assert.equal(slices.run(pieces("c", 1)), undefined);
});

test("close() leaves what was not done", async () => {
  const { slices, turns, pieces, nextTurn } = bench();
  void slices.run(pieces("a", 9));
  slices.close();
  await nextTurn();
  assert.equal(turns[1]?.length, 0);
});

test("timed() counts the time at work, not the pauses", async () => {
  const { slices, pieces, clock, nextTurn } = bench();
  const spent: number[] = [];
  void slices.run(timed(pieces("a", 10), clock, (ms) => spent.push(Math.round(ms * 10))));
  for (let i = 0; i < 3; i++) await nextTurn();
  assert.deepEqual(spent, [30]);
});
