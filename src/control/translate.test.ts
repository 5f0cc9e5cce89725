import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";

import { dump } from "js-yaml";

import { parseMeshCase } from "../../test/support/mesh-case.ts";
import { resourcesAsJson, xdsKinds } from "../../test/support/xds-json.ts";
import { formatProblem } from "../base/problem.ts";
import { configKinds } from "../model/kinds.ts";
import { typeUrls } from "../xds/feed.ts";
import type { MeshModel } from "./mesh-model.ts";
import { newTranslator, translate } from "./translate.ts";

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

for (const file of globSync("**/*.in.yaml", { cwd: folder }).toSorted()) {
  test(`newTranslator() remembers nothing that has changed, for testdata/${file}`, () => {
    const { model } = parseMeshCase(readFileSync(`${folder}${file}`, "utf8"), file);
    const remembering = newTranslator();
    for (const variation of variationsOf(model)) {
      for (const proxy of variation.instances) {
        assert.deepEqual(remembering(variation, proxy), translate(variation, proxy));
      }
    }
  });
}

test("newTranslator() makes nothing but endpoints anew when an instance gets ready", () => {
  const text = readFileSync(`${folder}shop/catalog.in.yaml`, "utf8");
  const { model, proxy } = parseMeshCase(text, "a.yaml");
  const translator = newTranslator();
  const before = translator(model, proxy);
  const after = translator(withoutEndpoints(model), proxy);
  for (const [typeUrl, resources] of after) {
    const known = new Set(before.get(typeUrl));
    const anew = resources.filter((one) => !known.has(one));
    assert.equal(anew.length > 0, typeUrl === typeUrls.endpoint, typeUrl);
  }
});

/** The model, and every model that lacks or changes one thing. */
function variationsOf(model: MeshModel): readonly MeshModel[] {
  const { settings } = model;
  const { resources, denying } = model;
  const lessResources = configKinds.flatMap((kind) =>
    resources[kind].map((_, index) => ({
      ...model,
      resources: { ...resources, [kind]: resources[kind].toSpliced(index, 1) },
    })),
  );
  const lessDenying = denying.map((_, index) => ({
    ...model,
    denying: denying.toSpliced(index, 1),
  }));
  const lessServices = [...model.services.keys()].map((hostname) => ({
    ...model,
    services: new Map([...model.services].filter(([name]) => name !== hostname)),
  }));
  return [
    model,
    ...lessResources,
    ...lessDenying,
    ...lessServices,
    withoutEndpoints(model),
    { ...model, settings: { ...settings, outboundTrafficPolicy: "REGISTRY_ONLY" } },
    { ...model, settings: { ...settings, accessLogFile: "/dev/stdout" } },
    {
      ...model,
      instances: model.instances.map((one) => ({
        ...one,
        labels: { ...one.labels, version: "changed" },
      })),
    },
    model,
  ];
}

function withoutEndpoints(model: MeshModel): MeshModel {
  const services = [...model.services].map(
    ([name, service]) =>
      [name, service.dnsEndpoints.length > 0 ? service : { ...service, endpoints: [] }] as const,
  );
  return { ...model, services: new Map(services) };
}

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

test("translate() bounds what a standard logger may keep in Envoy, and lets the idle go", () => {
  const file = "explicit/sidecar.in.yaml";
  const { model, proxy } = parseMeshCase(readFileSync(`${folder}${file}`, "utf8"), file);
  const types = translate(model, proxy);
  const scopes: unknown[] = [];
  for (const kind of xdsKinds) {
    for (const [, json] of resourcesAsJson(types, kind)) {
      JSON.stringify(json, (key: string, value: unknown) => {
        if (key === "statsScope") scopes.push(value);
        return value;
      });
    }
  }
  assert(scopes.length > 0);
  const scope = { prefix: "heddle", maxCounters: 4000, maxHistograms: 2000, enableEviction: true };
  for (const one of scopes) assert.deepEqual(one, scope);
});
