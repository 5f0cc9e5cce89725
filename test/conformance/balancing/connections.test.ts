/** What the kernel is told about connections to endpoints, beside Envoy on the same file. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { setTimeout as sleep } from "node:timers/promises";

import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

const servers = new Servers(1);
let planes: readonly Plane[] = [];

before(async () => {
  await servers.open();
  const clusterOf = (name: string, more: string): string =>
    `{name: ${name}, connect_timeout: 1s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}${more}}`;
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: [
        clusterOf("quiet", ""),
        clusterOf(
          "kept",
          ", upstream_connection_options: {tcp_keepalive: {keepalive_probes: 4, keepalive_time: 123, keepalive_interval: 7}}",
        ),
      ],
      routes: ["quiet", "kept"].map(
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
