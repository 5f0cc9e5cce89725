import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { requestView } from "../../../test/support/request-view.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import { httpFilterOverrides } from "../http.ts";
import { RouteTables } from "./route-tables.ts";

test("RouteTables tells what tables cost a thread, and requests that come to what is not compiled", () => {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const overrides = httpFilterOverrides;
  const tables = new RouteTables({ clock, metrics, overrides, unknown: { count: 0 } });
  const counts = (): readonly (string | undefined)[] =>
    ["heddle_route_table_compile_milliseconds", "heddle_route_compile_on_request_milliseconds"].map(
      (name) => new RegExp(`^${name}_count (\\d+)$`, "m").exec(metrics.expose())?.[1],
    );
  const hosts = ["a", "b"].map((name) => ({
    name,
    domains: [name],
    routes: [{ match: { prefix: "/" }, route: { cluster: name } }],
  }));
  const config = RouteConfiguration.fromPartial({ name: "80", virtualHosts: hosts });
  const work = tables.apply("80", RouteConfiguration.encode(config).finish());
  while (work.next().done !== true) clock.advance(1);
  assert.deepEqual(counts(), ["1", "0"], "one table, and nobody has asked");
  const ask = (authority: string): string | undefined => {
    const outcome = tables.get("80")?.resolve(requestView({ authority }), () => 0);
    return outcome?.kind === "forward" ? outcome.cluster : undefined;
  };
  assert.equal(ask("a"), "a");
  const [, first] = counts();
  assert.ok(Number(first) > 0, "the first request of a virtual host waits for it");
  assert.equal(ask("a"), "a");
  assert.equal(counts()[1], first, "the next does not");
  assert.equal(ask("b"), "b");
  assert.ok(Number(counts()[1]) > Number(first));
});
