/** Into which zones requests go, and what is counted of that, beside Envoy on the same file. */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";

import { httpListenerText, oneHostText } from "../proxy/bootstrap-text.ts";
import { type PlaneName, planeNames, type Planes, startPlanes } from "../proxy/planes.ts";
import { Servers } from "./planes.ts";

interface Kind {
  /** Endpoints by zone; the proxy is in zone a. */
  readonly zones: Readonly<Record<string, number>>;
  readonly config?: string;
  /** Shares of the zones, in their order. */
  readonly shares: readonly number[];
  /** What is counted, all of it together once for each request. */
  readonly counted?: readonly string[];
}

const typed = "type.googleapis.com/envoy.extensions.load_balancing_policies";
const zoneAware = (fields: string): string =>
  `common_lb_config: {zone_aware_lb_config: {${fields}}}`;
const policy = (name: string, fields: string): string =>
  `load_balancing_policy: {policies: [{typed_extension_config: {name: typed, typed_config: {"@type": ${typed}.${name}, locality_lb_config: {zone_aware_lb_config: {${fields}}}}}}]}`;
const directly = ["lb_zone_routing_all_directly"];
const both = ["lb_zone_routing_sampled", "lb_zone_routing_cross_zone"];

// Proxies: two in zone a, two in zone b.
const kinds: Readonly<Record<string, Kind>> = {
  direct: { zones: { a: 3, b: 3 }, shares: [1, 0], counted: directly },
  residual: { zones: { a: 1, b: 3, c: 3 }, shares: [0.286, 0, 0.714], counted: both },
  elsewhere: { zones: { b: 3, c: 3 }, shares: [0, 1], counted: both },
  "too-small": { zones: { a: 1, b: 3 }, shares: [0.25, 0.75] },
  "small-enough": {
    zones: { a: 1, b: 3 },
    config: zoneAware("min_cluster_size: 2"),
    shares: [0.5, 0.5],
    counted: both,
  },
  off: {
    zones: { a: 3, b: 3 },
    config: zoneAware("routing_enabled: {value: 0}"),
    shares: [0.5, 0.5],
  },
  "half-off": {
    zones: { a: 3, b: 3 },
    config: zoneAware("routing_enabled: {value: 50}"),
    shares: [0.75, 0.25],
  },
  forced: {
    zones: { a: 1, b: 3, c: 3 },
    config: policy("round_robin.v3.RoundRobin", "force_local_zone: {}"),
    shares: [1, 0, 0],
    counted: directly,
  },
  "forced-in-vain": {
    zones: { a: 1, b: 3, c: 3 },
    config: policy("least_request.v3.LeastRequest", "force_local_zone: {min_size: 2}"),
    shares: [0.286, 0, 0.714],
    counted: both,
  },
  "forced-as-before": {
    zones: { a: 1, b: 3, c: 3 },
    config: policy("random.v3.Random", "force_locality_direct_routing: true"),
    shares: [1, 0, 0],
    counted: directly,
  },
  weighted: {
    zones: { a: 3, b: 3 },
    config: policy("random.v3.Random", "locality_basis: HEALTHY_HOSTS_WEIGHT"),
    shares: [1, 0],
    counted: directly,
  },
};

const names = Object.keys(kinds);
const servers = new Servers(9);
let planes: Planes<"http"> | undefined;
const allPlanes: readonly PlaneName[] = [...planeNames, "envoy"];
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });

/** Three servers are of each zone. */
const zoneNames = ["a", "b", "c"];
const firstOf = (zone: string): number => 3 * zoneNames.indexOf(zone);

function clusterOf(name: string, zones: Kind["zones"], config: string | undefined): string {
  const localities = Object.entries(zones).map(([zone, count]) => {
    const endpoints = Array.from({ length: count }, (_, i) => servers.endpoint(firstOf(zone) + i));
    return `{locality: {region: r, zone: ${zone}}, lb_endpoints: [${endpoints.join(", ")}]}`;
  });
  const assignment = `{cluster_name: ${name}, endpoints: [${localities.join(", ")}]}`;
  const more = config === undefined ? "" : `, ${config}`;
  return `  - {name: ${name}, connect_timeout: 10s, load_assignment: ${assignment}${more}}`;
}

before(async () => {
  await servers.open();
  const routes = names.map((name) => `{match: {prefix: /${name}/}, route: {cluster: ${name}}}`);
  const rest = "{match: {prefix: /}, direct_response: {status: 404}}";
  planes = await startPlanes(
    ["http"],
    (ports) => `
node: {id: one, cluster: test, locality: {region: r, zone: a}}
cluster_manager: {local_cluster_name: proxies}
static_resources:
  clusters:
${clusterOf("proxies", { a: 2, b: 2 }, undefined)}
${names.map((name) => clusterOf(name, kinds[name]?.zones ?? {}, kinds[name]?.config)).join("\n")}
  listeners:
  - ${httpListenerText("http", ports.http, { virtualHosts: oneHostText([...routes, rest]) })}
`,
  );
});

after(async () => {
  agent.destroy();
  await planes?.close();
  servers.close();
});

async function ask(port: number, path: string): Promise<number> {
  return await new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", port, path, agent }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
      response.on("end", () => resolve(Number(text)));
      response.on("error", reject);
    });
    request.on("error", reject);
  });
}

const requests = 240;
/** More than five times the deviation that chance gives to half of them. */
const tolerance = 0.17;

for (const name of names) {
  test(`'${name}' goes into the same zones as with Envoy`, async () => {
    const { zones, shares, counted } = kinds[name] ?? { zones: {}, shares: [] };
    const running = planes;
    assert.ok(running !== undefined);
    for (const plane of allPlanes) {
      const found = new Map(Object.keys(zones).map((zone) => [zone, 0]));
      for (let i = 0; i < requests; i += 8) {
        const batch = Array.from({ length: 8 }, () =>
          ask(running.port(plane, "http"), `/${name}/`),
        );
        for (const index of await Promise.all(batch)) {
          const zone = zoneNames[Math.floor(index / 3)] ?? "";
          found.set(zone, (found.get(zone) ?? 0) + 1);
        }
      }
      const rates = [...found.values()].map((count) => count / requests);
      assert.equal(rates.length, shares.length, plane);
      for (const [i, share] of shares.entries()) {
        const rate = rates[i] ?? 0;
        const isNear = share === 0 || share === 1 ? rate === share : within(rate, share);
        assert.ok(isNear, `${plane}: ${[...found].join(" ")} instead of ${shares.join(" ")}`);
      }
      if (counted !== undefined) {
        const sum = await countOf(running, plane, name, counted);
        assert.equal(sum, requests, `${plane} counts ${counted.join(" and ")}`);
      }
    }
  });
}

function within(rate: number, share: number): boolean {
  return Math.abs(rate - share) < tolerance;
}

async function countOf(
  running: Planes<"http">,
  plane: PlaneName,
  name: string,
  counters: readonly string[],
): Promise<number> {
  const { body } = await running.admin(plane, "/stats/prometheus?filter=lb_zone");
  const rows = body.split("\n").filter((row) => row.includes(`cluster_name="${name}"`));
  let sum = 0;
  for (const counter of counters) {
    const row = rows.find((one) => one.startsWith(`envoy_cluster_${counter}{`));
    sum += Number(row?.split(" ").at(-1) ?? 0);
  }
  return sum;
}
