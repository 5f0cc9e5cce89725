import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";

import { dump } from "js-yaml";

import { parseMeshCase } from "../../test/support/mesh-case.ts";
import { resourcesAsJson, xdsKinds } from "../../test/support/xds-json.ts";
import { formatProblem } from "../base/problem.ts";
import { translate } from "./translate.ts";

// `HEDDLE_UPDATE_GOLDEN=1 node --test src/control/translate.test.ts` writes the outputs anew.
const isUpdating = process.env["HEDDLE_UPDATE_GOLDEN"] === "1";
const folder = new URL("translate/testdata/", import.meta.url).pathname;

for (const file of globSync("**/*.in.yaml", { cwd: folder }).toSorted()) {
  test(`translate() gives what testdata/${file} expects`, () => {
    const golden = `${folder}${file.replace(/\.in\.yaml$/, ".out.yaml")}`;
    const text = output(file);
    if (isUpdating) writeFileSync(golden, text);
    assert.equal(text, readFileSync(golden, "utf8"));
  });
}

test("translate() gives equal bytes for equal models", () => {
  const text = readFileSync(`${folder}shop/catalog.in.yaml`, "utf8");
  const once = parseMeshCase(text, "a.yaml");
  const again = parseMeshCase(text, "a.yaml");
  assert.deepEqual(translate(once.model, once.proxy), translate(again.model, again.proxy));
});

function output(file: string): string {
  const text = readFileSync(`${folder}${file}`, "utf8");
  const { model, proxy, problems, show } = parseMeshCase(text, file);
  const types = translate(model, proxy);
  const shown: Record<string, unknown> = {
    problems: problems.map(formatProblem),
  };
  for (const kind of xdsKinds) {
    for (const [name, json] of resourcesAsJson(types, kind)) {
      const key = `${kind} ${name}`;
      if (show.length === 0 || show.includes(kind) || show.includes(key)) shown[key] = json;
    }
  }
  const brief: unknown = JSON.parse(JSON.stringify(shown, withoutMetrics));
  return dump(brief, { lineWidth: 100, noRefs: true });
}

/** The loggers of the standard metrics are long, everywhere the same, and tested where they are defined. */
function withoutMetrics(_: string, value: unknown): unknown {
  const isMetrics =
    typeof value === "object" &&
    value !== null &&
    "name" in value &&
    value.name === "envoy.access_loggers.stats";
  return isMetrics ? { name: value.name } : value;
}
