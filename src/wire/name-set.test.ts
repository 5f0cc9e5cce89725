import assert from "node:assert/strict";
import { test } from "node:test";

import { defaultHeadLimits, Http1Head } from "./http1-head.ts";
import { feedHead } from "./http1-parser.ts";
import { hashName } from "./http1-tables.ts";
import { NameSet } from "./name-set.ts";

/** Names that are left when those of the set are gone; `before` are gone already. */
function left(set: readonly string[], fields: readonly string[], before?: string): string {
  const head = new Http1Head();
  head.reset("request");
  const lines = fields.map((name) => `${name}: 1\r\n`).join("");
  feedHead(head, Buffer.from(`GET / HTTP/1.1\r\n${lines}\r\n`), 0, defaultHeadLimits);
  assert.equal(head.isComplete, true);
  if (before !== undefined) head.dropName(before);
  new NameSet(set).dropFrom(head);
  const names = Array.from({ length: head.count }, (_, field) => head.nameAt(field));
  return names.filter((_, field) => head.dropped[field] === 0).join(" ");
}

test("NameSet.dropFrom() forgets every field of its names, and no other", () => {
  assert.equal(left(["a", "x-b"], ["host", "A", "x-b", "x-bc", "a", "b"]), "host x-bc b");
  assert.equal(left([], ["host", "a"]), "host a");
  assert.equal(left(["a"], []), "");
  assert.equal(left(["a"], ["host", "b", "a"], "b"), "host");
});

test("NameSet tells names apart that share a hash, or its last bits", () => {
  assert.equal(hashName("!a"), hashName("##"));
  assert.equal(left(["!a"], ["##", "!a"]), "##");
  assert.equal(left(["!a", "##"], ["host", "##", "!a"]), "host");
  assert.equal(hashName("aa") & 255, hashName("ii") & 255);
  assert.equal(left(["aa"], ["ii", "aa"]), "ii");
});

test("NameSet.has() is of whole names", () => {
  const names = new NameSet(["a", "x-b"]);
  assert.deepEqual(
    ["a", "x-b", "x", "b"].map((name) => names.has(name)),
    [true, true, false, false],
  );
});
