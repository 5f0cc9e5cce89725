/** What a cluster's series are called, and how TCP connections are spread by weight, beside Envoy. */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { clusterText, extensions, httpListenerText, oneHostText } from "../proxy/bootstrap-text.ts";
import { type PlaneName, planeNames, type Planes, startPlanes } from "../proxy/planes.ts";

const allPlanes: readonly PlaneName[] = [...planeNames, "envoy"];
const servers: net.Server[] = [];
let planes: Planes<"http" | "tcp"> | undefined;

async function listen(text: string): Promise<number> {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.end(text);
  });
  servers.push(server);
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return port;
}

before(async () => {
  const at = { a: await listen("a"), b: await listen("b"), c: await listen("c") };
  const virtualHosts = oneHostText(["{match: {prefix: /}, direct_response: {status: 200}}"]);
  planes = await startPlanes(
    ["http", "tcp"],
    (ports) => `
static_resources:
  clusters:
  - ${clusterText("a", at.a, "alt_stat_name: other")}
  - ${clusterText("b", at.b)}
  - ${clusterText("c", at.c)}
  listeners:
  - ${httpListenerText("http", ports.http, { virtualHosts })}
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports.tcp}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 3}]}
`,
  );
});

after(async () => {
  await planes?.close();
  for (const server of servers) server.close();
});

async function connect(port: number): Promise<string> {
  return await new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    let heard = "";
    socket.on("data", (chunk) => (heard += chunk.toString("latin1")));
    socket.on("error", () => {});
    socket.on("close", () => resolve(heard));
    socket.on("end", () => socket.end());
  });
}

const connections = 200;

test("weighted_clusters of tcp_proxy, and alt_stat_name, are as with Envoy", async () => {
  const running = planes;
  assert.ok(running !== undefined);
  for (const plane of allPlanes) {
    const port: number = running.port(plane, "tcp");
    const found = { a: 0, b: 0 };
    for (let i = 0; i < connections; i += 8) {
      const batch: Promise<string>[] = Array.from({ length: 8 }, () => connect(port));
      for (const text of await Promise.all(batch)) {
        assert.ok(text === "a" || text === "b", `${plane}: '${text}'`);
        found[text]++;
      }
    }
    // More than five times the deviation that chance gives.
    const share = found.a / connections;
    assert.ok(Math.abs(share - 0.25) < 0.16, `${plane}: ${found.a} of ${connections}`);
    const { body } = await running.admin(plane, "/stats/prometheus?filter=upstream_cx_total");
    const totalOf = (name: string): string | undefined =>
      body
        .split("\n")
        .find(
          (row) => row.startsWith("envoy_cluster_upstream_cx_total{") && row.includes(`"${name}"`),
        )
        ?.split(" ")
        .at(-1);
    assert.equal(totalOf("other"), String(found.a), plane);
    assert.equal(totalOf("b"), String(found.b), plane);
    assert.equal(totalOf("a"), undefined, plane);
  }
});
