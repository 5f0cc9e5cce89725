import assert from "node:assert/strict";
import { test } from "node:test";

import { BootstrapSchema } from "../../wire/gen/es/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { registry } from "../../wire/gen/es/registry.ts";
import { findJsonProblems } from "./json-problems.ts";
import { lineOfPath, parseFieldPath, type PlacedNode } from "./places.ts";
import { pruneJson } from "./prune-json.ts";

const problems = (json: unknown): readonly string[] =>
  findJsonProblems(BootstrapSchema, json, registry).map(
    ({ path, reason }) => `${path.join("/")}: ${reason}`,
  );

test("findJsonProblems() tells all of them, each with its place", () => {
  const any = { "@type": "type.googleapis.com/no.such.Filter", a: 1 };
  const found = problems({
    unknown: 1,
    node: { id: 5 },
    staticResources: {
      listeners: [{ name: "l", filter_chains: [{ filters: [{ typed_config: any }] }] }],
      clusters: [{ connect_timeout: "soon", type: "NEVER" }, "text"],
    },
  });
  assert.equal(found.length, 6);
  assert.match(found[0] ?? "", /^unknown: .*Bootstrap has no field 'unknown'/);
  assert.match(found[1] ?? "", /^node\/id: /);
  assert.match(
    found[2] ?? "",
    /^staticResources\/listeners\/0\/.*\/typed_config\/@type: 'no\.such\.Filter' is not supported/,
  );
  assert.match(found[3] ?? "", /clusters\/0\/connect_timeout: .*Duration/);
  assert.match(found[4] ?? "", /clusters\/0\/type: /);
  assert.match(found[5] ?? "", /clusters\/1: must be an object/);
});

test("findJsonProblems() refuses two fields that exclude each other", () => {
  const [found] = problems({
    staticResources: { secrets: [{ tlsCertificate: {}, validationContext: {} }] },
  });
  assert.match(found ?? "", /validationContext: excludes 'tlsCertificate'/);
});

test("pruneJson() leaves out what is broken and keeps the places of the rest", () => {
  const json = { list: [{ a: 1 }, { b: 2 }], any: { "@type": "x", more: 1 }, keep: true };
  const pruned = pruneJson(json, [
    ["list", 0],
    ["any", "@type"],
    ["nowhere", "at", "all"],
  ]);
  assert.deepEqual(pruned, { list: [{}, { b: 2 }], keep: true });
  assert.equal(json.list.length, 2);
});

test("lineOfPath() goes as deep as the file does, in either spelling", () => {
  const leaf = (line: number): PlacedNode => ({ line, children: new Map() });
  const root: PlacedNode = {
    line: 1,
    children: new Map([
      ["connectTimeout", leaf(2)],
      ["list", { line: 3, children: new Map([["1", leaf(5)]]) }],
      ["runtime", { line: 6, children: new Map([["a.b.c", leaf(7)]]) }],
    ]),
  };
  const line = (path: string): number => lineOfPath(root, parseFieldPath(path));
  assert.equal(line("connect_timeout.seconds"), 2);
  assert.equal(line("list[1].name"), 5);
  assert.equal(line("list[7]"), 3);
  assert.equal(line("runtime.a.b.c"), 7);
  assert.equal(line("elsewhere"), 1);
});

test("parseFieldPath() knows indexes and keys", () => {
  assert.deepEqual(parseFieldPath("a[0].b[x.y/z].c"), ["a", 0, "b", "x.y/z", "c"]);
});
