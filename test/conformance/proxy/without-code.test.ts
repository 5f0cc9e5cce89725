/**
 * A process that must not generate code decides the same: `--disallow-code-generation-from-strings`
 * is an operator's choice, and nothing has to be configured for it.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

const root = new URL("../../../", import.meta.url);

const program = `
  import { isCodeAllowed } from "./src/proxy/engine/generated-code.ts";
  import { compileRouteConfiguration } from "./src/proxy/engine/route-configuration.ts";
  import { RouteConfiguration } from "./src/wire/gen/ts/envoy/config/route/v3/route.ts";
  const table = compileRouteConfiguration(
    RouteConfiguration.fromPartial({
      virtualHosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            { match: { path: "/a" }, route: { cluster: "exact" } },
            { match: { prefix: "/" }, route: { cluster: "rest" } },
          ],
        },
      ],
    }),
    new Map(),
  );
  const ask = (path) =>
    table.resolve(
      { method: "GET", path, authority: "x", scheme: "http", header: () => undefined },
      () => 0,
    ).cluster;
  console.log(JSON.stringify([isCodeAllowed(), ask("/a"), ask("/b")]));
`;

function run(...flags: readonly string[]): unknown {
  const out = execFileSync(
    process.execPath,
    [...flags, "--input-type=module-typescript", "--eval", program],
    { cwd: root, encoding: "utf8", timeout: 30_000 },
  );
  return JSON.parse(out);
}

test("routes are chosen alike where code may be generated and where it may not", () => {
  assert.deepEqual(run(), [true, "exact", "rest"]);
  assert.deepEqual(run("--disallow-code-generation-from-strings"), [false, "exact", "rest"]);
});
