/** What the kernel is told about connections to endpoints, beside Envoy on the same file. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { setTimeout as sleep } from "node:timers/promises";

import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

const servers = new Servers(1);
let planes: readonly Plane[] = [];

const limited = (max: number): string =>
  `circuit_breakers: {thresholds: [{max_connections: ${max}}]}`;
const ratio = (value: number): string =>
  `preconnect_policy: {per_upstream_preconnect_ratio: ${value}}`;
/** What a cluster says, and how many connections it has after one request. */
const eager: Readonly<Record<string, readonly [config: string, connections: number]>> = {
  "ratio-none": ["", 1],
  "ratio-one": [`, ${ratio(1)}`, 1],
  "ratio-half": [`, ${ratio(1.5)}`, 2],
  "ratio-two": [`, ${ratio(2)}`, 2],
  "ratio-three": [`, ${ratio(3)}`, 3],
  "ratio-limited": [`, ${ratio(3)}, ${limited(2)}`, 2],
  "host-limited": [
    `, ${ratio(3)}, circuit_breakers: {per_host_thresholds: [{max_connections: 2}]}`,
    2,
  ],
};

before(async () => {
  await servers.open();
  const clusterOf = (name: string, more: string): string =>
    `{name: ${name}, connect_timeout: 10s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}${more}}`;
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: [
        clusterOf("quiet", ""),
        clusterOf(
          "kept",
          ", upstream_connection_options: {tcp_keepalive: {keepalive_probes: 4, keepalive_time: 123, keepalive_interval: 7}}",
        ),
        ...Object.entries(eager).map(([name, [more]]) => clusterOf(name, more)),
      ],
      routes: ["quiet", "kept", ...Object.keys(eager)].map(
        (name) => `{match: {prefix: /${name}/}, route: {cluster: ${name}}}`,
      ),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

/** Of connections to the server: by local port, seconds until the kernel asks; undefined: never. */
function keepAliveTimers(): ReadonlyMap<string, number | undefined> {
  const rows = readFileSync("/proc/net/tcp", "latin1").trim().split("\n").slice(1);
  const remotePort = servers.port.toString(16).toUpperCase().padStart(4, "0");
  const found = new Map<string, number | undefined>();
  for (const row of rows) {
    const [, local = "", remote = "", state, , timer = ""] = row.trim().split(/\s+/);
    if (state !== "01" || !remote.endsWith(`:${remotePort}`)) continue;
    const [kind, ticks = ""] = timer.split(":");
    // Hundredths of a second.
    found.set(local, kind === "02" ? Number.parseInt(ticks, 16) / 100 : undefined);
  }
  return found;
}

test("tcp_keepalive: the kernel asks idle endpoints as it does for Envoy", async () => {
  for (const plane of planes) {
    for (const [name, wanted] of [
      ["quiet", false],
      ["kept", true],
    ] as const) {
      const known = keepAliveTimers();
      assert.equal((await plane.ask(`/${name}/`)).status, 200);
      const own = () => [...keepAliveTimers()].filter(([port]) => !known.has(port));
      // What was sent may not be acknowledged yet: another timer runs until then.
      for (let i = 0; wanted && own()[0]?.[1] === undefined && i < 100; i++) await sleep(20);
      const made = own();
      assert.equal(made.length, 1, `${plane.name}, ${name}`);
      const seconds = made[0]?.[1];
      // A timer that has been set for 123 s, however slow the machine.
      const isSet = seconds !== undefined && seconds > 60 && seconds <= 123.5;
      assert.equal(isSet, wanted, `${plane.name}, ${name}: ${seconds}`);
    }
  }
});

/** Connections that a cluster has ever had. */
async function opened(plane: Plane, cluster: string): Promise<number> {
  const lines = (await plane.admin("/stats/prometheus")).split("\n");
  const own = lines.find(
    (line) => line.startsWith("envoy_cluster_upstream_cx_total{") && line.includes(`"${cluster}"`),
  );
  return Number(own?.split(" ").at(-1) ?? 0);
}

for (const [name, [, connections]] of Object.entries(eager)) {
  test(`${name}: as many connections are opened as in Envoy`, async () => {
    for (const plane of planes) {
      assert.equal((await plane.ask(`/${name}/`)).status, 200, plane.name);
      assert.equal(await opened(plane, name), connections, plane.name);
    }
  });
}
