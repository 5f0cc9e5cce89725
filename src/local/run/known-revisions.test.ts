import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { KnownRevisions } from "./known-revisions.ts";

async function isOver(promise: Promise<void>): Promise<boolean> {
  return await Promise.race([
    promise.then(() => true),
    new Promise<boolean>((resolve) => {
      setImmediate(() => resolve(false));
    }),
  ]);
}

test("everywhere() waits for the last proxy, not only for those that answer in time", async () => {
  const known = new KnownRevisions();
  const wait = known.everywhere(3, new FakeClock(), 10_000);
  known.take({ kind: "applied", revision: 3, isEverywhere: false });
  assert.equal(known.applied, 3);
  assert.equal(await isOver(wait), false);
  known.take({ kind: "applied", revision: 4, isEverywhere: true });
  assert.equal(await isOver(wait), true);
});

test("everywhere() ends after its time", async () => {
  const clock = new FakeClock();
  const wait = new KnownRevisions().everywhere(1, clock, 10_000);
  clock.advance(9999);
  assert.equal(await isOver(wait), false);
  clock.advance(1);
  assert.equal(await isOver(wait), true);
});

test("everywhere() does not wait for what is known", async () => {
  const known = new KnownRevisions();
  known.take({ kind: "applied", revision: 5, isEverywhere: true });
  assert.equal(await isOver(known.everywhere(5, new FakeClock(), 10_000)), true);
});

test("close() ends every wait", async () => {
  const known = new KnownRevisions();
  const wait = known.everywhere(7, new FakeClock(), 10_000);
  known.close();
  assert.equal(await isOver(wait), true);
});
