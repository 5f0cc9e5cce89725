/** Requests that name their destination by a header, beside Envoy on the same file. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

const servers = new Servers(2);
let planes: readonly Plane[] = [];

const clusters: Readonly<Record<string, string>> = {
  plain: "use_http_header: true",
  named: "use_http_header: true, http_header_name: X-Where",
  port: "use_http_header: true, upstream_port_override: PORT",
};

before(async () => {
  await servers.open();
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: Object.entries(clusters).map(
        ([name, config]) =>
          `{name: ${name}, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s, original_dst_lb_config: {${config.replace("PORT", String(servers.port))}}}`,
      ),
      routes: Object.keys(clusters).map(
        (name) => `{match: {prefix: /${name}/}, route: {cluster: ${name}}}`,
      ),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

const cases: readonly (readonly [cluster: string, header: string, port: "own" | "none"])[] = [
  ["plain", "x-envoy-original-dst-host", "own"],
  ["named", "x-where", "own"],
  ["port", "x-envoy-original-dst-host", "none"],
];

for (const [cluster, header, port] of cases) {
  test(`cluster '${cluster}' goes where ${header} says`, async () => {
    for (const plane of planes) {
      for (const [i, address] of servers.addresses.entries()) {
        const value = `${address}:${port === "own" ? servers.port : 1}`;
        const { status, body } = await plane.ask(`/${cluster}/`, { [header]: value });
        assert.deepEqual({ status, body }, { status: 200, body: String(i) }, plane.name);
      }
    }
  });
}
