/**
 * TCP connections that end by the clock, and clusters by weight: Heddle on each backend, and Envoy with the
 * same file.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
/** Whoever waits for Envoy tries the first. */
const doors = ["weighted", "idle", "lifetime"] as const;
type Door = (typeof doors)[number];

const names = ["one", "two"] as const;
/** Each greets by its name, and answers what it hears. */
const servers = names.map((name) =>
  net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => socket.write(`${name} ${chunk.toString("latin1")}`));
  }),
);

let planes: Planes<Door> | undefined;

before(async () => {
  const clusters: string[] = [];
  for (const [i, server] of servers.entries()) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as net.AddressInfo;
    const endpoint = `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`;
    clusters.push(
      `{name: ${names[i]}, connect_timeout: 5s, load_assignment: {cluster_name: ${names[i]}, endpoints: [{lb_endpoints: [${endpoint}]}]}}`,
    );
  }
  planes = await startPlanes(doors, (ports, { logFile }) => {
    const log = (name: Door): string =>
      `access_log: [{name: file, typed_config: {"@type": ${extensions}.access_loggers.file.v3.FileAccessLog, path: ${logFile}, log_format: {text_format_source: {inline_string: "${name} %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_CLUSTER% in=%BYTES_RECEIVED% out=%BYTES_SENT%\\n"}}}}]`;
    const door = (name: Door, how: string): string =>
      `{name: ${name}, address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}, filter_chains: [{filters: [{name: tcp, typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: ${name}, ${log(name)}, ${how}}}]}]}`;
    const weighted =
      "weighted_clusters: {clusters: [{name: one, weight: 3}, {name: two, weight: 1}]}";
    return `static_resources:
  clusters: [${clusters.join(", ")}]
  listeners:
  - ${door("idle", "cluster: one, idle_timeout: 0.4s")}
  - ${door("lifetime", "cluster: one, idle_timeout: 60s, max_downstream_connection_duration: 0.4s")}
  - ${door("weighted", weighted)}
`;
  });
});

after(async () => {
  await planes?.close();
  for (const server of servers) server.close();
});

/** Says it, and waits for the other side to end, unless it has what it wants. */
function say(port: number, text: string, wanted?: string): Promise<string> {
  return new Promise((resolve) => {
    let got = "";
    const socket = net.connect({ host: "127.0.0.1", port }, () => socket.write(text));
    socket.on("data", (chunk) => {
      got += chunk.toString("latin1");
      if (wanted !== undefined && got.endsWith(wanted)) socket.destroy();
    });
    socket.on("error", () => (got += " (reset)"));
    socket.on("close", () => resolve(got));
  });
}

async function entries(plane: PlaneName, door: Door, count: number): Promise<readonly string[]> {
  for (;;) {
    const found = planes?.log(plane).filter((line) => line.startsWith(`${door} `)) ?? [];
    if (found.length >= count) return found;
    await sleep(5);
  }
}

async function counted(plane: PlaneName, name: string, door: Door): Promise<string | undefined> {
  const { body } = (await planes?.admin(plane, "/stats/prometheus")) ?? { body: "" };
  const line = body
    .split("\n")
    .find((text) => text.startsWith(`envoy_tcp_${name}{`) && text.includes(`tcp_prefix="${door}"`));
  return line?.split(" ").at(-1);
}

for (const [door, counter, logged] of [
  ["idle", "idle_timeout", "idle - - one in=5 out=9"],
  ["lifetime", "max_downstream_connection_duration", "lifetime DT - one in=5 out=9"],
] as const) {
  test(`a TCP connection ends by its ${counter}, is logged and counted as by Envoy`, async () => {
    for (const plane of ["envoy", ...planeNames] as const) {
      assert.ok(planes !== undefined);
      assert.equal(await say(planes.port(plane, door), "hello"), "one hello", plane);
      assert.deepEqual(await entries(plane, door, 1), [logged], plane);
      assert.equal(await counted(plane, counter, door), "1", plane);
    }
  });
}

test("TCP connections go to clusters by weight", async () => {
  const times = 400;
  for (const plane of ["envoy", ...planeNames] as const) {
    assert.ok(planes !== undefined);
    const port = planes.port(plane, "weighted");
    const heard = new Map<string, number>();
    for (let i = 0; i < times; i++) {
      const [name = ""] = (await say(port, "hello", "hello")).split(" ");
      heard.set(name, (heard.get(name) ?? 0) + 1);
    }
    const [one = 0, two = 0] = [heard.get("one"), heard.get("two")];
    assert.equal(one + two, times, `${plane}: ${[...heard].join(" ")}`);
    // 300 of 400, with a standard deviation of 8.7: six of them.
    assert.ok(Math.abs(one - 300) <= 52, `${plane}: ${one} of ${times}`);
  }
});
