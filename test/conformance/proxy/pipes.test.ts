/**
 * Unix sockets, as files and by abstract names, that proxies listen on, send requests to, and check: under
 * Heddle's data plane (both I/O backends, and data workers) and under Envoy, which runs the same file.
 */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { systemClock } from "../../../src/base/clock.ts";
import { openIo } from "../../../src/net/io-backend.ts";
import { openLibc } from "../../../src/net/sysio/libc.ts";
import { encodeSockaddr, familyUnix } from "../../../src/net/sysio/sockaddr.ts";
import { silentLog } from "../../support/silent-log.ts";
import { planeNames, type PlaneName, type Planes, type Ports, startPlanes } from "./planes.ts";

const folder = mkdtempSync(join(tmpdir(), "heddle-pipes-"));
const application = { file: join(folder, "app.sock"), abstract: `@heddle-pipes-${process.pid}` };
const gone = join(folder, "gone.sock");
const doors = ["front"] as const;
type Door = (typeof doors)[number];
type Own = "file" | "open" | "abstract" | "stale";

/** Each plane has its own, told apart by its port. */
function pathOf(ports: Ports<Door>, own: Own): string {
  return own === "abstract"
    ? `@heddle-pipes-own-${ports.front}`
    : join(folder, `${ports.front}.${own}`);
}

const operators = [
  "DOWNSTREAM_REMOTE_ADDRESS",
  "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
  "DOWNSTREAM_REMOTE_PORT",
  "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
  "DOWNSTREAM_DIRECT_REMOTE_PORT",
  "DOWNSTREAM_LOCAL_ADDRESS",
  "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
  "DOWNSTREAM_LOCAL_PORT",
  "UPSTREAM_HOST",
  "UPSTREAM_REMOTE_ADDRESS",
  "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
  "UPSTREAM_REMOTE_PORT",
  "UPSTREAM_CLUSTER",
  "RESPONSE_CODE",
  "RESPONSE_FLAGS",
];

const extensions = "type.googleapis.com/envoy.extensions";

function bootstrap(ports: Ports<Door>, { logFile }: { readonly logFile: string }): string {
  // What a proxy that was killed has left.
  const stale = pathOf(ports, "stale");
  const probe = openLibc();
  assert.ok(probe.kind === "present");
  const { libc } = probe;
  const address = encodeSockaddr({ address: stale, port: 0 });
  const left = libc.socket(familyUnix, 1, 0);
  assert.equal(libc.bind(left, address, address.length), 0);
  libc.close(left);
  const listener = (name: string, address: string, manager: string): string => `
  - name: ${name}
    address: ${address}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          ${manager}
          access_log:
${logText("text", logFile, `text_format_source: {inline_string: "${operators.map((name) => `%${name}%`).join("|")}\\n"}`)}
${logText("json", logFile, `json_format: {${operators.map((name) => `${name}: "%${name}%"`).join(", ")}}`)}
          http_filters: [{name: router, typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}}]
          route_config:
            request_headers_to_add:
            - {header: {key: x-from, value: "%DOWNSTREAM_REMOTE_ADDRESS%"}}
            - {header: {key: x-at, value: "%DOWNSTREAM_LOCAL_ADDRESS%"}}
            - {header: {key: x-port, value: "port:%DOWNSTREAM_LOCAL_PORT%,%DOWNSTREAM_REMOTE_PORT%."}}
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [${clusters.map(({ name }) => `{match: {prefix: /${name}}, route: {cluster: ${name}}}`).join(", ")}]`;
  const pipe = (own: Own, mode = ""): string => `{pipe: {path: "${pathOf(ports, own)}"${mode}}}`;
  return `
static_resources:
  clusters: [${clusters.map(clusterText).join(", ")}]
  listeners:${listener("front", `{socket_address: {address: 127.0.0.1, port_value: ${ports.front}}}`, "")}${listener("file", pipe("file", ", mode: 416"), "use_remote_address: true")}${listener("open", pipe("open", ", mode: 511"), "internal_address_config: {unix_sockets: true}\n          use_remote_address: true")}${listener("abstract", pipe("abstract"), "")}${listener("stale", pipe("stale"), "")}
`;
}

/** Of requests that ask for it. */
function logText(kind: string, path: string, format: string): string {
  const header = `{name: x-logged, string_match: {exact: ${kind}}}`;
  return `          - name: file
            filter: {header_filter: {header: ${header}}}
            typed_config: {"@type": ${extensions}.access_loggers.file.v3.FileAccessLog, path: ${path}, log_format: {${format}}}`;
}

interface Upstream {
  readonly name: string;
  readonly path: string;
  readonly more?: string;
  /** What the endpoint is checked at instead. */
  readonly checkedAt?: string;
}

const checks = (kind: string): string =>
  `health_checks: [{timeout: 5s, interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, ${kind}}]`;
const clusters: readonly Upstream[] = [
  { name: "byfile", path: application.file },
  { name: "byname", path: application.abstract },
  { name: "gone", path: gone },
  {
    name: "checked",
    path: application.file,
    more: checks("http_health_check: {path: /health}"),
  },
  {
    name: "refused",
    path: application.file,
    more: checks("http_health_check: {path: /health}"),
    checkedAt: gone,
  },
  { name: "opened", path: application.abstract, more: checks("tcp_health_check: {}") },
];

function clusterText({ name, path, more, checkedAt }: Upstream): string {
  const check =
    checkedAt === undefined
      ? ""
      : `, health_check_config: {address: {pipe: {path: "${checkedAt}"}}}`;
  const endpoint = `{endpoint: {address: {pipe: {path: "${path}"}}${check}}}`;
  return `{name: ${name}, connect_timeout: 5s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoint}]}]}, common_lb_config: {healthy_panic_threshold: {value: 0}}${more === undefined ? "" : `, ${more}`}}`;
}

const servers = Object.values(application).map((path) => ({
  path,
  server: http.createServer((request, response) => {
    request.resume();
    response.end(JSON.stringify(toldOf(request.headers)));
  }),
}));
let planes: Planes<Door> | undefined;
const portsOf = (plane: PlaneName): Ports<Door> => ({ front: running().port(plane, "front") });

function running(): Planes<Door> {
  assert.ok(planes !== undefined);
  return planes;
}

function toldOf(headers: http.IncomingHttpHeaders): object {
  const told: Record<string, unknown> = {};
  for (const name of Object.keys(headers).sort()) {
    if (/^x-(?!request-id|logged)/.test(name)) told[name] = headers[name];
  }
  return told;
}

before(async () => {
  for (const { server, path } of servers) {
    const at = path.startsWith("@") ? `\0${path.slice(1)}` : path;
    await new Promise<void>((resolve) => server.listen(at, resolve));
  }
  planes = await startPlanes(doors, bootstrap);
});

after(async () => {
  await planes?.close();
  for (const { server } of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** `own`: the plane's socket; undefined: its port. */
function ask(
  plane: PlaneName,
  own: Own | undefined,
  path: string,
  headers: http.OutgoingHttpHeaders = {},
): Promise<Answer> {
  const ports = portsOf(plane);
  const socketPath = own === undefined ? "" : pathOf(ports, own).replace(/^@/, "\0");
  const where = own === undefined ? { host: "127.0.0.1", port: ports.front } : { socketPath };
  return new Promise((resolve, reject) => {
    const request = http.get(
      { ...where, path, headers: { host: "test", ...headers }, agent: false },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (body += chunk));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      },
    );
    request.on("error", reject);
  });
}

/** What each plane has of its own. */
function plain(text: string, plane: PlaneName): string {
  const ports = portsOf(plane);
  let found = text;
  for (const own of ["file", "open", "abstract", "stale"] as const) {
    found = found.replaceAll(pathOf(ports, own), `<${own}>`);
  }
  return found
    .replaceAll(String(ports.front), "<front>")
    .replaceAll(/127\.0\.0\.1:(?!<)\d+/g, "<client>")
    .replaceAll(/,\d{4,5}\./g, ",<port>.");
}

async function compare(
  own: Own | undefined,
  path: string,
  headers?: http.OutgoingHttpHeaders,
): Promise<Answer> {
  const answers: Answer[] = [];
  for (const plane of ["envoy", ...planeNames] as const) {
    const { status, body } = await ask(plane, own, path, headers);
    answers.push({ status, body: plain(body, plane) });
  }
  const [expected, ...others] = answers;
  assert.ok(expected !== undefined);
  for (const [i, found] of others.entries()) assert.deepEqual(found, expected, planeNames[i] ?? "");
  return expected;
}

test("requests reach applications at Unix sockets", async () => {
  for (const path of ["/byfile", "/byname"]) {
    const { status, body } = await compare(undefined, path);
    assert.equal(status, 200);
    assert.match(body, /"x-port":"port:<front>,<port>."/);
  }
});

test("nobody at a Unix socket is an upstream that refuses", async () => {
  assert.equal((await compare(undefined, "/gone")).status, 503);
});

test("listeners at Unix sockets serve, also where a dead process left one", async () => {
  for (const own of ["file", "open", "abstract", "stale"] as const) {
    const { status, body } = await compare(own, "/byfile", { "x-envoy-force-trace": "true" });
    assert.equal(status, 200, own);
    assert.match(body, new RegExp(`"x-from":"<${own}>"`), body);
  }
});

test("clients of Unix sockets are internal where that is said, and add nothing to who it was", async () => {
  for (const own of ["file", "open"] as const) {
    for (const forwarded of ["", "203.0.113.7"]) {
      const headers = forwarded === "" ? {} : { "x-forwarded-for": forwarded };
      const marked = {
        ...headers,
        "x-envoy-upstream-rq-timeout-ms": "1000",
        "x-envoy-internal": "x",
      };
      const { body } = await compare(own, "/byfile", marked);
      assert.equal(
        /"x-envoy-internal":"true"/.test(body),
        own === "open" && forwarded === "",
        body,
      );
    }
  }
});

test("files of listeners have their permissions", () => {
  for (const plane of ["envoy", ...planeNames] as const) {
    const ports = portsOf(plane);
    const modes = (["file", "open"] as const).map(
      (own) => statSync(pathOf(ports, own)).mode & 0o777,
    );
    assert.deepEqual(modes, [0o640, 0o777], plane);
  }
});

test("logs tell of Unix sockets as Envoy does", async () => {
  const lines = new Map<PlaneName, readonly string[]>();
  for (const plane of ["envoy", ...planeNames] as const) {
    const before = running().log(plane).length;
    for (const own of ["file", "abstract", undefined] as const) {
      for (const [path, kind] of [
        ["/byfile", "text"],
        ["/byname", "text"],
        ["/byname", "json"],
        ["/gone", "text"],
      ] as const) {
        await ask(plane, own, path, { "x-logged": kind });
        const wanted = before + (lines.get(plane)?.length ?? 0) + 1;
        while (running().log(plane).length < wanted) await sleep(5);
        lines.set(plane, running().log(plane).slice(before));
      }
    }
  }
  const shown = (plane: PlaneName): readonly string[] =>
    (lines.get(plane) ?? []).map((line) =>
      plain(line, plane).replaceAll(/([|:])\d{4,5}\b/g, "$1<port>"),
    );
  const expected = shown("envoy");
  assert.equal(expected.length, 12);
  for (const plane of planeNames) assert.deepEqual(shown(plane), expected, plane);
});

test("endpoints at Unix sockets are checked, also at another than their own", async () => {
  for (const plane of ["envoy", ...planeNames] as const) {
    for (const [path, status] of [
      ["/checked", 200],
      ["/opened", 200],
      ["/refused", 503],
    ] as const) {
      for (
        let tries = 0;
        tries < 200 && (await ask(plane, undefined, path)).status !== status;
        tries++
      ) {
        await sleep(20);
      }
      assert.equal((await ask(plane, undefined, path)).status, status, `${plane} ${path}`);
    }
  }
});

test("the admin interface shows pipes as Envoy's", async () => {
  const shown = async (plane: PlaneName): Promise<object> => {
    const raw = async (path: string): Promise<string> => (await running().admin(plane, path)).body;
    const of = async (path: string): Promise<string> => plain(await raw(path), plane);
    const listeners = await of("/listeners?format=json");
    const hosts = JSON.parse(await raw("/clusters?format=json")) as {
      cluster_statuses: { name: string; host_statuses: { address: object }[] }[];
    };
    return {
      lines: (await of("/listeners")).split("\n").sort(),
      // Each with its address, in whatever order.
      listeners: listeners
        .replaceAll(/\s/g, "")
        .split(/[[\]{}]+/)
        .sort(),
      hosts: new Map(
        hosts.cluster_statuses.map(({ name, host_statuses }) => [
          name,
          host_statuses.map(({ address }) => address),
        ]),
      ),
      text: (await of("/clusters"))
        .split("\n")
        .filter((line) => /::(hostname|priority)::/.test(line))
        .sort(),
    };
  };
  const expected = await shown("envoy");
  for (const plane of planeNames) assert.deepEqual(await shown(plane), expected, plane);
});

for (const name of ["portable", "epoll"] as const) {
  const io = openIo(name, systemClock, silentLog);
  const listen = (address: string) =>
    io.listen({
      on: { kind: "address", address, port: 0 },
      connectionsMax: 10,
      readsOriginalDestination: false,
      log: silentLog,
      onChannel: (channel) => channel.destroy(),
    });

  test(`listen() takes its file away when it closes, and no other's (${name})`, async () => {
    const path = join(folder, `closing-${name}.sock`);
    const first = await listen(path);
    assert.deepEqual(first.address, { address: path, port: 0 });
    // As a proxy that takes the place of one that is still there.
    rmSync(path);
    const second = http.createServer();
    await new Promise<void>((resolve) => second.listen(path, resolve));
    await first.close();
    assert.ok(existsSync(path));
    second.close();
    const third = await listen(path);
    await third.close();
    assert.ok(!existsSync(path));
  });

  test(`listen() leaves a file that is no socket (${name})`, async () => {
    const path = join(folder, `taken-${name}`);
    writeFileSync(path, "somebody's");
    await assert.rejects(async () => listen(path), { code: "listen-failed" });
    assert.ok(statSync(path).isFile());
  });
}
