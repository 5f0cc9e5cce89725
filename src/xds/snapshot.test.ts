import assert from "node:assert/strict";
import { test } from "node:test";

import { typeUrls } from "./feed.ts";
import { encodedResource, holdBack, resourcesOf, type Snapshot, snapshotOf } from "./snapshot.ts";

const one = (name: string, content: string, ...references: readonly string[]) =>
  encodedResource(name, Buffer.from(content), { references });

/** Names and contents of what a snapshot holds of one type. */
function contents(snapshot: Snapshot, typeUrl: string): readonly string[] {
  return [...resourcesOf(snapshot, typeUrl).values()].map(
    ({ name, bytes }) => `${name}=${Buffer.from(bytes).toString()}`,
  );
}

test("encodedResource() gives equal bytes equal versions", () => {
  assert.equal(one("a", "x").version, one("b", "x").version);
  assert.notEqual(one("a", "x").version, one("a", "y").version);
});

test("holdBack() leaves a whole snapshot as it is", () => {
  const snapshot = snapshotOf("1", [
    [typeUrls.route, [one("r", "1", "c")]],
    [typeUrls.cluster, [one("c", "1")]],
  ]);
  assert.equal(holdBack(undefined, snapshot).snapshot, snapshot);
});

test("holdBack() keeps the last route table while a cluster is missing", () => {
  const previous = snapshotOf("1", [
    [typeUrls.route, [one("r", "1", "c")]],
    [typeUrls.cluster, [one("c", "1")]],
  ]);
  const next = snapshotOf("2", [
    [typeUrls.route, [one("r", "2", "c", "missing")]],
    [typeUrls.cluster, [one("c", "1")]],
  ]);
  const { snapshot, held } = holdBack(previous, next);
  assert.deepEqual(contents(snapshot, typeUrls.route), ["r=1"]);
  assert.deepEqual(
    held.map((h) => [h.resource.name, h.missing]),
    [["r", "missing"]],
  );
  assert.deepEqual(contents(holdBack(undefined, next).snapshot, typeUrls.route), ["r=2"]);
});

test("holdBack() leaves out a listener whose routes are missing, unless it had them before", () => {
  const previous = snapshotOf("1", [
    [typeUrls.listener, [one("l", "1", "r")]],
    [typeUrls.route, [one("r", "1")]],
  ]);
  const next = snapshotOf("2", [
    [typeUrls.listener, [one("l", "2", "r", "r2"), one("m", "1", "r2")]],
    [typeUrls.route, [one("r", "1")]],
  ]);
  assert.deepEqual(contents(holdBack(previous, next).snapshot, typeUrls.listener), ["l=1"]);
});
