import assert from "node:assert/strict";
import { test } from "node:test";

import { dump } from "js-yaml";
import fc from "fast-check";

import { parseDocuments } from "./documents.ts";
import { dumpNode, parseYaml, plainValue, yamlLimits } from "./yaml.ts";

test("parseYaml() reads back what was written as JSON", () => {
  const json = fc.jsonValue({ maxDepth: 5 }).filter((value) => value !== null);
  fc.assert(
    fc.property(json, (value) => {
      const { documents, problems } = parseYaml(JSON.stringify(value), "f.json");
      assert.deepEqual(problems, []);
      const root = documents[0]?.root;
      assert.ok(root !== undefined);
      assert.equal(JSON.stringify(plainValue(root)), JSON.stringify(value));
    }),
  );
});

test("dumpNode() writes what parseYaml() reads as the same", () => {
  const word = fc.constantFrom(
    "yes",
    "N",
    "1_000",
    "0777",
    "1e3",
    "~",
    "",
    " ",
    "- a",
    "#",
    "2026-11-21",
    "a: b",
  );
  const text = fc.oneof(word, fc.string());
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ maxDepth: 4 }, text, fc.integer(), fc.boolean(), tie("list"), tie("map")),
    list: fc.array(tie("tree"), { maxLength: 4 }),
    map: fc.dictionary(fc.string({ minLength: 1 }), tie("tree"), { maxKeys: 4 }),
  }));
  fc.assert(
    fc.property(tree, (value) => {
      const first = parseYaml(JSON.stringify({ value }), "f.json").documents[0]?.root;
      assert(first !== undefined);
      const again = parseYaml(dumpNode(first), "f.yaml");
      assert.deepEqual(again.problems, []);
      const root = again.documents[0]?.root;
      assert(root !== undefined);
      assert.deepEqual(plainValue(root), plainValue(first));
    }),
  );
});

test("parseDocuments() never throws, whatever the text", () => {
  const words = fc.constantFrom(
    "kind: AuthorizationPolicy\n",
    "apiVersion: security.istio.io/v1\n",
    "metadata: {name: x}\n",
    "spec:\n",
    "  rules: [{}]\n",
    "---\n",
    "&a ",
    "*a",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "|\n",
    "<<: ",
    "%YAML 1.2\n",
    "'",
    '"',
    "\t",
    "\u0000",
    "é",
    "!!str ",
    "? ",
    "#",
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(words, { maxLength: 30 }).map((all) => all.join("")),
  );
  fc.assert(
    fc.property(text, (one) => {
      parseDocuments(one, "f.yaml");
    }),
    { numRuns: 500 },
  );
});

test("parseDocuments() never throws on specs of any shape", () => {
  const kinds = ["VirtualService", "DestinationRule", "Gateway", "ServiceEntry"];
  const names = fc.constantFrom(
    "hosts",
    "http",
    "route",
    "destination",
    "host",
    "match",
    "uri",
    "exact",
    "servers",
    "port",
    "subsets",
    "trafficPolicy",
    "tls",
    "mode",
    "endpoints",
    "weight",
    "spec",
    "timeout",
  );
  const spec = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 6 },
      fc.constantFrom(0, -1, "a", "5s", true, null),
      tie("list"),
      tie("map"),
    ),
    list: fc.array(tie("value"), { maxLength: 3 }),
    map: fc.dictionary(names, tie("value"), { maxKeys: 4 }),
  })).map;
  fc.assert(
    fc.property(fc.constantFrom(...kinds), spec, (kind, value) => {
      const resource = {
        apiVersion: "networking.istio.io/v1",
        kind,
        metadata: { name: "x" },
        spec: value,
      };
      const { resources, problems } = parseDocuments(dump(resource), "f.yaml");
      assert.ok(resources.length === 1 || problems.length > 0);
    }),
  );
});

test("parseYaml() refuses bombs", () => {
  let bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (let i = 1; i < 12; i++) {
    bomb += `a${i}: &a${i} [${Array.from({ length: 9 }, () => `*a${i - 1}`).join(",")}]\n`;
  }
  const code = (text: string): string | undefined => parseYaml(text, "f.yaml").problems[0]?.code;
  assert.equal(code(bomb), "yaml.too-many-nodes");
  assert.equal(code("[".repeat(10_000)), "yaml.syntax");
  assert.equal(
    code(`a: &a 1\nb: [${Array.from({ length: 101 }, () => "*a").join(",")}]`),
    "yaml.too-many-aliases",
  );
  assert.equal(code(" ".repeat(yamlLimits.fileCharactersMax + 1)), "yaml.file-too-large");
  assert.equal(code("a: 1\na: 2\n"), "yaml.duplicate-key");
});
