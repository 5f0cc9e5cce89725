/** What clusters ask the kernel of sockets towards their endpoints, beside Envoy on the same file. */
import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { after, before, test } from "node:test";

import { openLibc } from "../../../src/net/sysio/libc.ts";
import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

const ipprotoTcp = 6;
const tcpMaxSegment = 2;

/** How large a segment the proxy has said it takes, and where it comes from. */
function told({ socket }: IncomingMessage): string {
  const probe = openLibc();
  assert.ok(probe.kind === "present");
  const handle: unknown = Reflect.get(socket, "_handle");
  assert.ok(typeof handle === "object" && handle !== null);
  const fd: unknown = Reflect.get(handle, "fd");
  assert.ok(typeof fd === "number");
  const value = Buffer.alloc(4);
  probe.libc.getsockopt(fd, ipprotoTcp, tcpMaxSegment, value, Buffer.from([4, 0, 0, 0]));
  return `${value.readInt32LE(0)} from ${socket.remoteAddress}`;
}

const servers = new Servers(1, (_, request, response) => void response.end(told(request)));
let planes: readonly Plane[] = [];

const segment = (size: number, more = ""): string =>
  `{level: ${ipprotoTcp}, name: ${tcpMaxSegment}, int_value: ${size}${more}}`;
/** 700 as the kernel has it in memory. */
const bytes = Buffer.from([0xbc, 0x02, 0, 0]).toString("base64");
const clusters: Readonly<Record<string, string>> = {
  plain: "",
  small: `socket_options: [${segment(900)}]`,
  last: `socket_options: [${segment(900)}, ${segment(600)}]`,
  bytes: `socket_options: [{level: ${ipprotoTcp}, name: ${tcpMaxSegment}, buf_value: ${bytes}}]`,
  bound: `socket_options: [${segment(800, ", state: STATE_BOUND")}]`,
  listening: `socket_options: [${segment(800, ", state: STATE_LISTENING")}]`,
  datagram: `socket_options: [${segment(900, ", type: {datagram: {}}")}]`,
  stream: `socket_options: [${segment(900, ", type: {stream: {}}")}]`,
  v4: `socket_options: [${segment(900, ", ip_version: SOCKET_IP_VERSION_IPV4")}]`,
  v6: `socket_options: [${segment(900, ", ip_version: SOCKET_IP_VERSION_IPV6")}]`,
  source: `source_address: {address: 127.0.7.77, port_value: 0}, socket_options: [${segment(900)}]`,
  both: "source_address: {address: 127.0.7.77, port_value: 0}, extra_source_addresses: [{address: {address: '::1', port_value: 0}}]",
  elsewhere: "source_address: {address: 192.0.2.77, port_value: 0}",
  "refused-bound": "socket_options: [{level: 6, name: 9999, int_value: 1, state: STATE_BOUND}]",
  refused: "socket_options: [{level: 6, name: 9999, int_value: 1}]",
};

before(async () => {
  await servers.open();
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: Object.entries(clusters).map(
        ([name, bind]) =>
          `{name: ${name}, connect_timeout: 10s, upstream_bind_config: {${bind}}, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}}`,
      ),
      routes: Object.keys(clusters).map(
        (name) =>
          `{match: {prefix: /${name}/}, response_headers_to_add: [{header: {key: x-flags, value: "%RESPONSE_FLAGS%"}}], route: {cluster: ${name}}}`,
      ),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

for (const name of Object.keys(clusters)) {
  test(`${name}: the kernel is asked what Envoy asks it`, async () => {
    const found = await Promise.all(
      planes.map(async (plane) => {
        const { status, body, headers } = await plane.ask(`/${name}/`);
        return { status, body: status === 200 ? body : "", flags: headers["x-flags"] };
      }),
    );
    for (const [i, each] of found.entries())
      assert.deepEqual(each, found.at(-1), planes[i]?.name ?? "");
    const fails = name === "refused" || name === "elsewhere";
    assert.equal(found[0]?.status, fails ? 503 : 200);
    if (name === "small") assert.ok(Number.parseInt(found[0]?.body ?? "", 10) <= 900);
  });
}

test("bind_errors: a local address that cannot be had is counted", async () => {
  for (const plane of planes) {
    const text = await plane.admin("/stats/prometheus");
    const lines = text
      .split("\n")
      .filter((line) => line.startsWith("envoy_cluster_bind_errors{") && !line.endsWith(" 0"));
    assert.equal(lines.length, 1, plane.name);
    assert.match(lines[0] ?? "", /"elsewhere"\} 1$/, plane.name);
  }
});
