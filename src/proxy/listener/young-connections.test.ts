import assert from "node:assert/strict";
import { test } from "node:test";

import { YoungConnections } from "./young-connections.ts";

test("YoungConnections counts what came in the last seconds and is open", () => {
  const young = new YoungConnections();
  const first = young.add(1000);
  young.add(1500);
  young.add(3000);
  assert.equal(young.count(3100), 3);
  young.remove(first);
  assert.equal(young.count(3100), 2);
  assert.equal(young.count(6100), 1);
  young.add(9000);
  assert.equal(young.count(9000), 1);
  young.remove(first);
  assert.equal(young.count(20_000), 0);
});
