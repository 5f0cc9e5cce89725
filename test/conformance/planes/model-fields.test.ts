/**
 * Nothing that is written is ignored: every field of Istio's API for the kinds that are honoured is set
 * to its zero and to other values, and either is refused or changes what proxies are told. What changes
 * nothing must stand in `model-fields-default.txt`: there the value is how the mesh behaves without it.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import test from "node:test";

import type { Problem } from "../../../src/base/problem.ts";
import { newTranslator } from "../../../src/control/translate.ts";
import { parseMeshCase } from "../../support/mesh-case.ts";
import { type FieldTable, tables } from "./model-fields.ts";

// `HEDDLE_UPDATE_GOLDEN=1 node --test test/conformance/planes/model-fields.test.ts` writes it anew.
const isUpdating = process.env["HEDDLE_UPDATE_GOLDEN"] === "1";
const golden = new URL("model-fields-default.txt", import.meta.url).pathname;

const head = `case:
  proxy: web-0.default
  dataPlane: envoy
  workloads:
    - { name: web, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
    - { name: cart, labels: { version: v1 }, ports: [{ port: 80, targetPort: 8080, protocol: http }, { port: 81, targetPort: 8081, protocol: http }] }
    - { name: ledger, ports: [{ port: 9000, targetPort: 9000, protocol: tcp }] }
    - { name: vault, ports: [{ port: 443, targetPort: 8443, protocol: tls }] }
    - { name: bank, namespace: bank }
    - { name: ingress, role: gateway, labels: { istio: ingress }, ports: [{ port: 80, targetPort: 80, protocol: http }, { port: 81, targetPort: 81, protocol: http }] }
---
`;

interface Told {
  readonly problems: readonly Problem[];
  /** Everything that every proxy is told. */
  readonly digest: string;
}

/** By what was written. */
const known = new Map<string, Told>();

function told({ kind, group, beside = "" }: FieldTable, spec: unknown): Told {
  const text = `apiVersion: ${group}.istio.io/v1\nkind: ${kind}\nmetadata: { name: x }\nspec: ${JSON.stringify(spec)}\n`;
  const earlier = known.get(text + beside);
  if (earlier !== undefined) return earlier;
  const { model, problems } = parseMeshCase(`${head}${text}${beside}`, "x.yaml");
  const translate = newTranslator();
  const digests = model.instances.flatMap((instance) =>
    [...translate(model, instance)].flatMap(([typeUrl, all]) =>
      all.map(({ name, version }) => `${instance.name} ${typeUrl} ${name} ${version}`),
    ),
  );
  const result = { problems, digest: digests.join("\n") };
  known.set(text + beside, result);
  return result;
}

/** The base with one field set, whatever has to be made on the way there. */
function withField(base: unknown, path: readonly string[], value: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return value ?? base ?? {};
  if (step === "#") {
    const items: readonly unknown[] = Array.isArray(base) ? base : [{}];
    return [withField(items[0], rest, value), ...items.slice(1)];
  }
  const fields = typeof base === "object" && base !== null ? base : {};
  return { ...fields, [step]: withField(Reflect.get(fields, step), rest, value) };
}

/** What was written as `kind path value` and did nothing. */
function ignoredOf(table: FieldTable): readonly string[] {
  const before = told(table, table.base);
  const usual = new Set(before.problems.map(({ code, path }) => `${code} ${path}`));
  const ignored: string[] = [];
  const isNew = ({ code, path }: Problem): boolean => !usual.has(`${code} ${path}`);
  for (const [written, values] of Object.entries(table.fields)) {
    const path = written.split(".");
    // What the mapping around a field does by itself is no effect of the field.
    const around = told(table, withField(table.base, path.slice(0, -1), undefined));
    const reference = around.problems.some(isNew) ? before : around;
    for (const value of values) {
      const { problems, digest } = told(table, withField(table.base, path, value));
      if (!problems.some(isNew) && [before.digest, reference.digest].includes(digest)) {
        ignored.push(`${table.kind} ${written} = ${JSON.stringify(value)}`);
      }
    }
  }
  return ignored;
}

test("every field is refused, or honoured, or says what holds without it", () => {
  const ignored = [...new Set(tables.flatMap(ignoredOf))].toSorted((a, b) => (a < b ? -1 : 1));
  const lines = new Map(
    readFileSync(golden, { encoding: "utf8", flag: "a+" })
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => [line.split("  # ")[0] ?? "", line]),
  );
  if (isUpdating) {
    writeFileSync(golden, `${ignored.map((line) => lines.get(line) ?? line).join("\n")}\n`);
  }
  assert.deepEqual(
    ignored.filter((line) => !lines.has(line)),
    [],
    "written and without effect",
  );
  assert.deepEqual(
    [...lines.keys()].filter((line) => !ignored.includes(line)),
    [],
    "listed, and yet refused or with an effect",
  );
});
