/**
 * Connections for requests to come, across endpoints (`predictive_preconnect_ratio`), beside Envoy on the same file.
 * Envoy counts what all clusters of a thread have, so each cluster is asked alone, and left without connections.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

const servers = new Servers(6);
let planes: readonly Plane[] = [];

interface Case {
  readonly fields: string;
  /** Connections there are after each further request. */
  readonly connections: readonly number[];
  readonly weight?: (i: number) => number;
}

const ratio = (value: number): string =>
  `preconnect_policy: {predictive_preconnect_ratio: ${value}}`;
const cases: Readonly<Record<string, Case>> = {
  none: { fields: "lb_policy: ROUND_ROBIN", connections: [1, 2, 3] },
  one: { fields: ratio(1), connections: [1, 2, 3] },
  // The second and the third request come where they were expected.
  two: { fields: ratio(2), connections: [3, 3, 3, 4] },
  three: { fields: ratio(3), connections: [4, 4, 4, 4, 5] },
  weighted: {
    fields: `lb_policy: LEAST_REQUEST, ${ratio(2)}`,
    connections: [3],
    weight: (i) => 100 + i,
  },
  "least-busy": { fields: `lb_policy: LEAST_REQUEST, ${ratio(3)}`, connections: [1] },
  ring: { fields: `lb_policy: RING_HASH, ${ratio(3)}`, connections: [1] },
  limited: {
    fields: `${ratio(3)}, circuit_breakers: {thresholds: [{max_connections: 2}]}`,
    connections: [4],
  },
  subsets: {
    fields: `${ratio(3)}, lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [version]}]}`,
    connections: [1],
  },
};

before(async () => {
  await servers.open();
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: Object.entries(cases).map(([name, { fields, weight }]) => {
        const endpoints = servers.addresses.map((_, i) =>
          servers.endpoint(i, weight === undefined ? "" : `, load_balancing_weight: ${weight(i)}`),
        );
        const idle = "common_http_protocol_options: {idle_timeout: 0.2s}, ";
        return `{name: ${name}, connect_timeout: 10s, ${idle}${fields}, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoints.join(", ")}]}]}}`;
      }),
      routes: Object.keys(cases).map(
        (name) => `{match: {prefix: /${name}/}, route: {cluster: ${name}}}`,
      ),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

async function statOf(plane: Plane, name: string, cluster: string): Promise<number> {
  const lines = (await plane.admin("/stats/prometheus")).split("\n");
  const own = lines.find(
    (line) => line.startsWith(`envoy_cluster_${name}{`) && line.includes(`"${cluster}"`),
  );
  return Number(own?.split(" ").at(-1) ?? 0);
}

for (const [name, { connections }] of Object.entries(cases)) {
  test(`${name}: as many connections are opened for what is to come as in Envoy`, async () => {
    for (const plane of planes) {
      const had = await statOf(plane, "upstream_cx_total", name);
      const found: number[] = [];
      for (const _ of connections) {
        assert.equal((await plane.ask(`/${name}/`)).status, 200, plane.name);
        found.push((await statOf(plane, "upstream_cx_total", name)) - had);
      }
      assert.deepEqual(found, connections, plane.name);
    }
    for (const plane of planes) {
      while ((await statOf(plane, "upstream_cx_active", name)) > 0) await sleep(10);
    }
  });
}
