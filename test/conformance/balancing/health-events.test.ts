/** What is written of health checks, beside Envoy on the same file. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { agreedOf } from "./health-planes.ts";
import { bootstrapOf, type Place, type Plane, Servers, startPlanes } from "./planes.ts";

/** What the next check of a data plane is answered: a status, and whether the endpoint is degraded. */
const stories: Readonly<Record<string, readonly string[]>> = {
  // Fails, passes twice, is degraded, is well, fails at once, fails on.
  changes: ["503", "200", "200", "degraded", "200", "503", "503", "200", "200"],
  passes: ["200", "200", "200"],
  breaks: ["200", "gone", "gone", "gone", "200", "200"],
};
const told = new Map<string, number>();
/** What Heddle's have written, by file. */
const written = new Map<string, string>();
const folder = await mkdtemp(join(tmpdir(), "heddle-events-"));

function answer(_index: number, request: IncomingMessage, response: ServerResponse): void {
  const { url = "" } = request;
  const at = told.get(url) ?? 0;
  told.set(url, at + 1);
  const story = stories[url.split("/")[2] ?? ""] ?? [];
  const next = story[Math.min(at, story.length - 1)];
  if (next === "gone") request.socket.destroy();
  else if (next === "degraded") response.writeHead(200, { "x-envoy-degraded": "1" }).end();
  else response.writeHead(Number(next)).end();
}

const servers = new Servers(1, answer);
const silent = net.createServer(() => {});
let planes: readonly Plane[] = [];

const fileOf = (port: number, name: string): string => join(folder, `${port}-${name}.log`);
const sink = (path: string): string =>
  `event_logger: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink, event_log_path: ${path}}}]`;

function clustersFor(place: Place, ports: { dead: number; silent: number }): readonly string[] {
  const make = (name: string, endpoint: string, check: string): string =>
    `{name: ${name}, load_assignment: {cluster_name: ${name}, endpoints: [{locality: {region: here}, lb_endpoints: [${endpoint}]}]}, health_checks: [{timeout: 10s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 2, healthy_threshold: 2, ${check}}]}`;
  const at = (port: number, more = ""): string =>
    `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}${more}}`;
  const asks = (story: string, name: string): string =>
    `http_health_check: {path: /story/${story}/${name}/${place.port}}`;
  const file = (name: string): string => fileOf(place.port, name);
  const here = servers.endpoint(0);
  return [
    make("changes", here, `event_log_path: ${file("changes")}, ${asks("changes", "changes")}`),
    make(
      "all",
      servers.endpoint(0, ", metadata: {filter_metadata: {envoy.lb: {version: v1}}}"),
      `${sink(file("all"))}, always_log_health_check_failures: true, always_log_health_check_success: true, ${asks("changes", "all")}`,
    ),
    make(
      "passes",
      here,
      `${sink(file("passes"))}, always_log_health_check_success: true, ${asks("passes", "passes")}`,
    ),
    make(
      "breaks",
      here,
      `event_log_path: ${file("breaks")}, always_log_health_check_failures: true, ${asks("breaks", "breaks")}`,
    ),
    make(
      "dead",
      at(ports.dead),
      `event_log_path: ${file("dead")}, always_log_health_check_failures: true, tcp_health_check: {}`,
    ),
    make(
      "late",
      at(ports.silent),
      `event_log_path: ${file("late")}, tcp_health_check: {receive: [{text: '00'}]}`,
    ).replace("timeout: 10s", "timeout: 0.2s"),
  ];
}

before(async () => {
  await servers.open();
  await new Promise<void>((resolve) => void silent.listen(0, "127.0.0.1", resolve));
  const ports = { dead: await freePort(), silent: (silent.address() as net.AddressInfo).port };
  planes = await startPlanes(
    (place) => bootstrapOf(place, { clusters: clustersFor(place, ports), routes: [] }),
    {
      workers: 2,
      onLines: (path, lines) => written.set(path, (written.get(path) ?? "") + lines),
    },
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
  silent.close();
  await rm(folder, { recursive: true, force: true });
});

/** The first lines, without when. */
async function linesOf(plane: Plane, name: string, count: number): Promise<readonly string[]> {
  const path = fileOf(plane.port, name);
  const text = plane.isEnvoy ? await readFile(path, "utf8") : (written.get(path) ?? "");
  const lines = text.split("\n").slice(0, -1).slice(0, count);
  return lines.map((line) =>
    line.replace(/"timestamp":"[0-9-]{10}T[0-9:]{8}(?:\.[0-9]+)?Z"/, '"timestamp":""'),
  );
}

const kinds: Readonly<Record<string, readonly string[]>> = {
  changes: ["failure", "healthy", "degraded", "no_longer", "eject", "healthy"],
  all: ["failure", "success"],
  passes: ["healthy", "success", "success"],
  breaks: ["healthy", "failure", "eject", "failure", "failure", "healthy"],
  dead: ["failure", "failure"],
  late: ["failure"],
};

for (const [name, expected] of Object.entries(kinds)) {
  test(`of '${name}' is written: ${expected.join(", ")}`, async () => {
    const lines = await agreedOf(
      planes,
      (plane) => linesOf(plane, name, expected.length),
      (found) => found.length === expected.length,
    );
    for (const [i, kind] of expected.entries()) assert.match(lines[i] ?? "", new RegExp(kind));
  });
}
