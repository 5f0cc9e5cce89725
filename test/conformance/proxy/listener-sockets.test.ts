/**
 * What listeners ask the kernel of their sockets (`freebind`, `transparent`, `socket_options`), over
 * one file, under Heddle's data plane (both I/O backends, and data workers) and under Envoy.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import http from "node:http";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { openLibc } from "../../../src/net/sysio/libc.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const doors = [
  "plain",
  "small",
  "own",
  "other",
  "late",
  "datagram",
  "lasting",
  "queued",
  "kept",
  "unbound",
  "hasty",
] as const;
type Door = (typeof doors)[number];

const ipprotoTcp = 6;
const tcpMaxSegment = 2;
const ipTos = 1;
const segment = (size: number, more = ""): string =>
  `{level: ${ipprotoTcp}, name: ${tcpMaxSegment}, int_value: ${size}${more}}`;
/** 700 as the kernel has it in memory. */
const bytes = Buffer.from([0xbc, 0x02, 0, 0]).toString("base64");

function bootstrap(ports: { readonly [door in Door]: number }): string {
  const at = (port: number, address = "127.0.0.1"): string =>
    `{socket_address: {address: ${address}, port_value: ${port}}}`;
  const listener = (name: Door, fields: string): string => `
  - name: ${name}
    address: ${at(ports[name])}
    ${fields}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}`;
  return `
static_resources:
  listeners:${listener("plain", "")}${listener("small", `socket_options: [${segment(900)}]`)}${listener(
    "own",
    `socket_options: [${segment(900)}]
    additional_addresses:
    - {address: ${at(ports.other)}, socket_options: {socket_options: [{level: 6, name: 2, buf_value: ${bytes}}]}}
    - {address: ${at(ports.other, "127.0.0.2")}}`,
  )}${listener(
    "late",
    `freebind: true
    max_connections_to_accept_per_socket_event: 1
    socket_options: [${segment(800, ", state: STATE_BOUND")}, {description: type of service, level: 0, name: ${ipTos}, int_value: 16, state: STATE_LISTENING}]
    additional_addresses: [{address: ${at(ports.late, "203.0.113.77")}}]`,
  )}${listener("lasting", "drain_type: MODIFY_ONLY")}${listener("queued", "tcp_backlog_size: 7")}${listener(
    "kept",
    "tcp_keepalive: {keepalive_probes: 3, keepalive_time: 5000, keepalive_interval: 11}",
  )}${listener("unbound", "bind_to_port: false")}${listener(
    "hasty",
    `listener_filters_timeout: 0.2s
    listener_filters: [{name: inspector, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]`,
  )}${listener("datagram", `socket_options: [${segment(900, ", type: {datagram: {}}")}]`)}
`;
}

let planes: Planes<Door> | undefined;

before(async () => {
  planes = await startPlanes(doors, bootstrap);
});

after(async () => {
  await planes?.close();
});

/** How large a segment the server says it takes, as this end's kernel knows it. */
function segmentTo(port: number, host: string): Promise<number> {
  const probe = openLibc();
  assert.ok(probe.kind === "present");
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port });
    socket.once("error", reject);
    socket.once("connect", () => {
      const handle: unknown = Reflect.get(socket, "_handle");
      assert.ok(typeof handle === "object" && handle !== null);
      const value = Buffer.alloc(4);
      const length = Buffer.from([4, 0, 0, 0]);
      const fd: unknown = Reflect.get(handle, "fd");
      assert.ok(typeof fd === "number");
      probe.libc.getsockopt(fd, ipprotoTcp, tcpMaxSegment, value, length);
      socket.destroy();
      resolve(value.readInt32LE(0));
    });
  });
}

async function sizes(plane: PlaneName): Promise<readonly number[]> {
  assert.ok(planes !== undefined);
  const found: number[] = [];
  for (const door of ["plain", "small", "own", "other", "late", "datagram"] as const) {
    found.push(await segmentTo(planes.port(plane, door), "127.0.0.1"));
  }
  found.push(await segmentTo(planes.port(plane, "other"), "127.0.0.2"));
  return found;
}

test("listen() sets what configuration asks of each address's socket, as Envoy does", async () => {
  const expected = await sizes("envoy");
  const [plain = 0, small = 0, own = 0, other = 0] = expected;
  assert.ok(plain > small && small === own && other < small, JSON.stringify(expected));
  for (const plane of planeNames) assert.deepEqual(await sizes(plane), expected, plane);
});

function closes(plane: PlaneName, door: Door): Promise<boolean> {
  assert.ok(planes !== undefined);
  const port = planes.port(plane, door);
  return new Promise((resolve, reject) => {
    const agent = new http.Agent({ keepAlive: true });
    http
      .get({ host: "127.0.0.1", port, agent }, ({ headers }) => {
        agent.destroy();
        resolve(headers.connection === "close");
      })
      .on("error", reject);
  });
}

test("closesAnswer() leaves connections to who is only drained when changed, as Envoy", async () => {
  assert.ok(planes !== undefined);
  for (const plane of ["envoy", ...planeNames] as const) {
    assert.equal((await planes.admin(plane, "/healthcheck/fail", "POST")).status, 200);
    // Threads hear of it one after another.
    for (let tries = 0; tries < 100 && !(await closes(plane, "plain")); tries++) await sleep(10);
    assert.equal(await closes(plane, "plain"), true, plane);
    assert.equal(await closes(plane, "lasting"), false, plane);
    assert.equal((await planes.admin(plane, "/healthcheck/ok", "POST")).status, 200);
  }
});

/** What the kernel's own tool says of sockets of this port, one in a line. */
function socketsAt(port: number, ...flags: readonly string[]): readonly string[] {
  const text = execFileSync("ss", ["-Hnt", ...flags, `sport = :${port}`], { encoding: "utf8" });
  return text.split("\n").filter((line) => line !== "");
}

test("listen() has connections wait in a queue of the size that is asked for, as Envoy", () => {
  assert.ok(planes !== undefined);
  for (const plane of ["envoy", ...planeNames] as const) {
    const rooms: readonly (string | undefined)[] = socketsAt(
      planes.port(plane, "queued"),
      "-l",
    ).map((line) => line.split(/ +/)[2]);
    // Envoy may have a socket for each thread.
    assert.deepEqual([...new Set(rooms)], ["7"], plane);
  }
});

test("listen() asks the kernel to look after connections that say nothing, as Envoy", async () => {
  assert.ok(planes !== undefined);
  for (const plane of ["envoy", ...planeNames] as const) {
    for (const [door, isKept] of [
      ["kept", true],
      ["plain", false],
    ] as const) {
      const port = planes.port(plane, door);
      const socket = net.connect({ host: "127.0.0.1", port });
      await new Promise((resolve) => socket.once("connect", resolve));
      const [line = ""] = socketsAt(port, "-o", "state", "established");
      socket.destroy();
      // Of 5,000 seconds.
      assert.equal(/timer:\(keepalive,8[23]min/.test(line), isKept, `${plane} ${door}: ${line}`);
    }
  }
});

test("listen() opens no port for a listener that others hand connections to, as Envoy", () => {
  assert.ok(planes !== undefined);
  for (const plane of ["envoy", ...planeNames] as const) {
    assert.deepEqual(socketsAt(planes.port(plane, "unbound"), "-l"), [], plane);
  }
});

test("a connection that says nothing is closed when its listener's filters have waited, as Envoy", async () => {
  assert.ok(planes !== undefined);
  for (const plane of ["envoy", ...planeNames] as const) {
    const port = planes.port(plane, "hasty");
    const socket = net.connect({ host: "127.0.0.1", port });
    await new Promise((resolve) => socket.resume().once("close", resolve));
    const { status, body } = await planes.admin(plane, "/stats/prometheus");
    assert.equal(status, 200);
    assert.match(body, /envoy_listener_downstream_pre_cx_timeout\{[^}]*\} 1\n/, plane);
  }
});
