import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { memoryFiles } from "../../../test/support/memory-files.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { typeUrls } from "../../xds/feed.ts";
import { SnapshotStore } from "./snapshot-store.ts";

const cluster = { name: "cart", version: "1", bytes: Buffer.from("cart") };

function start(at: { readonly files: ReturnType<typeof memoryFiles>; readonly clock: FakeClock }) {
  return new SnapshotStore({ ...at, log: silentLog, nodeId: "cart-0" });
}

test("SnapshotStore keeps when its content was accepted, to the millisecond, for after a SIGKILL", () => {
  const at = { files: memoryFiles(), clock: new FakeClock(10_000) };
  const store = start(at);
  assert.equal(store.acceptedAtMs, undefined);
  store.apply(typeUrls.cluster, [cluster], []);
  at.clock.advance(700);
  store.apply(typeUrls.cluster, [{ ...cluster, name: "late" }], []);
  at.clock.advance(300);
  // Killed here: what was not yet written is neither content nor age.
  const killed = start(at);
  assert.deepEqual([...killed.resources(typeUrls.cluster).keys()], ["cart"]);
  assert.deepEqual([killed.acceptedAtMs, killed.confirmedAtMs], [10_000, 10_000]);
  at.clock.advance(60_000);
  const later = start(at);
  assert.deepEqual([...later.resources(typeUrls.cluster).keys()], ["cart", "late"]);
  assert.deepEqual([later.acceptedAtMs, later.confirmedAtMs], [10_700, 10_700]);
});

test("SnapshotStore keeps the end of a stream at once, and apart from the last change", () => {
  const at = { files: memoryFiles(), clock: new FakeClock(10_000) };
  const store = start(at);
  store.confirm();
  assert.equal(store.confirmedAtMs, undefined, "there was nothing to confirm");
  store.apply(typeUrls.cluster, [cluster], []);
  at.clock.advance(5000);
  store.confirm();
  const killed = start(at);
  assert.deepEqual([killed.acceptedAtMs, killed.confirmedAtMs], [10_000, 15_000]);
});
