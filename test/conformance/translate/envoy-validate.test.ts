/** Stock Envoy accepts what translation makes: every golden case, as a sidecar of Envoy's. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import type { JsonObject, JsonValue } from "@bufbuild/protobuf";

import { translate } from "../../../src/control/translate.ts";
import { findEnvoy } from "../../support/envoy.ts";
import { parseMeshCase } from "../../support/mesh-case.ts";
import { resourcesAsJson } from "../../support/xds-json.ts";

const folder = new URL("../../../src/control/translate/testdata/", import.meta.url).pathname;

for (const file of globSync("**/*.in.yaml", { cwd: folder }).toSorted()) {
  test(`translate() of ${file} passes envoy --mode validate`, async () => {
    const envoy = findEnvoy();
    assert.ok(envoy !== undefined, "Envoy is installed by npm test");
    const text = readFileSync(`${folder}${file}`, "utf8");
    const { model, proxy } = parseMeshCase(text, file, { dataPlane: "envoy" });
    const types = translate(model, proxy);
    const routes = resourcesAsJson(types, "route");
    const bootstrap = {
      node: { id: "test", cluster: "test" },
      dynamic_resources: {
        ads_config: {
          api_type: "DELTA_GRPC",
          transport_api_version: "V3",
          grpc_services: [{ envoy_grpc: { cluster_name: "xds" } }],
        },
      },
      static_resources: {
        listeners: [...resourcesAsJson(types, "listener").values()].map((one) =>
          withInlineRoutes(one, routes),
        ),
        clusters: [
          ...resourcesAsJson(types, "cluster").values(),
          unixCluster("xds"),
          unixCluster("sds-grpc"),
        ],
      },
    };
    const problem = await validate(envoy, bootstrap);
    assert.equal(problem, "");
  });
}

function unixCluster(name: string): JsonObject {
  const address = { pipe: { path: `/tmp/${name}` } };
  return {
    name,
    type: "STATIC",
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
    },
  };
}

/** Validation fetches nothing, so that route tables are only looked at where they stand inline. */
function withInlineRoutes(value: JsonValue, routes: ReadonlyMap<string, JsonObject>): JsonValue {
  if (Array.isArray(value)) return value.map((item) => withInlineRoutes(item, routes));
  if (typeof value !== "object" || value === null) return value;
  const result: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    const name = key === "rds" && isObject(item) ? item["routeConfigName"] : undefined;
    if (typeof name !== "string") {
      result[key] = withInlineRoutes(item, routes);
      continue;
    }
    const table = routes.get(name);
    assert.ok(table !== undefined, `no route table ${name}`);
    result["routeConfig"] = { ...table, validateClusters: false };
  }
  return result;
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What Envoy says against it; empty when it is content. */
async function validate(envoy: string, bootstrap: unknown): Promise<string> {
  const folderMade = mkdtempSync(join(tmpdir(), "heddle-validate-"));
  try {
    const file = join(folderMade, "bootstrap.json");
    writeFileSync(file, JSON.stringify(bootstrap));
    const args = ["--mode", "validate", "-c", file, "-l", "error", "--disable-hot-restart"];
    return await new Promise((done) => {
      execFile(envoy, args, { timeout: 60_000 }, (error, stdout, stderr) => {
        done(error === null ? "" : `${error.message}\n${stdout}\n${stderr}`.slice(0, 4000));
      });
    });
  } finally {
    rmSync(folderMade, { recursive: true });
  }
}
