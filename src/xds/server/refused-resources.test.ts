import assert from "node:assert/strict";
import { test } from "node:test";

import { encodedResource } from "../snapshot.ts";
import { refusedResources } from "./refused-resources.ts";

function check(reason: string, names: readonly string[], expected: readonly string[]): void {
  const resources = names.map((name) => encodedResource(name, Buffer.from(name)));
  const refused = refusedResources(reason, { resources, removed: [] });
  assert.deepEqual(
    refused.map(({ name }) => name),
    expected,
  );
}

test("refusedResources() finds names that stand by themselves", () => {
  const many = ["80", "8080", "outbound|80||a.b", "outbound|80||a.bc", "l"];
  check("Error adding/updating cluster(s) outbound|80||a.b: bad", many, ["outbound|80||a.b"]);
  check("Error adding/updating listener(s) l: refused", many, ["l"]);
  check("no such port in 8080.", many, ["8080"]);
});

test("refusedResources() names all of a short response, none of a long one, without a hint", () => {
  check("out of memory", ["a", "b"], ["a", "b"]);
  check("out of memory", ["p", "q", "r", "s"], []);
});
