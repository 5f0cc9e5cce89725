/** Active health checks beside Envoy on the same file: what is asked, and what the answers mean. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { freePort } from "../../support/free-port.ts";
import { agreedOf, flagsOf, statusesOf } from "./health-planes.ts";
import { bootstrapOf, type Place, type Plane, Servers, startPlanes } from "./planes.ts";

/** What each server answers to a check, by the cluster that asks. */
type Answer = (request: IncomingMessage, response: ServerResponse) => void;
const answers = new Map<string, Answer>();
/** Checks as they came, by the cluster and data plane that ask. */
const asked = new Map<string, { readonly head: string; readonly socket: net.Socket }[]>();

function answer(index: number, request: IncomingMessage, response: ServerResponse): void {
  const { url = "" } = request;
  const [, kind, cluster = "", plane = ""] = url.split("?")[0]?.split("/") ?? [];
  if (kind !== "check") {
    if (request.headers["x-fail-me"] === String(index)) {
      response.setHeader("x-envoy-immediate-health-check-fail", "true");
    }
    response.end(String(index));
    return;
  }
  const key = `${cluster} ${plane}`;
  const lines = request.rawHeaders.flatMap((name, i) =>
    i % 2 === 0 ? [`${name.toLowerCase()}: ${request.rawHeaders[i + 1] ?? ""}`] : [],
  );
  const head = [`${request.method ?? ""} ${url}`, ...lines.toSorted()]
    .join("\n")
    .replaceAll(plane, "PLANE");
  asked.set(key, [...(asked.get(key) ?? []), { head, socket: request.socket }]);
  const special = answers.get(`${cluster} ${index}`);
  if (special === undefined) response.end("fine");
  else special(request, response);
}

const servers = new Servers(3, answer);
const silent = net.createServer(() => {});
const shouting = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.on("data", (bytes) => socket.write(bytes.toString("latin1") === "ping" ? "..pong!" : "?"));
});
let silentPort = 0;
let shoutingPort = 0;
let deadPort = 0;
let planes: readonly Plane[] = [];

const status =
  (code: number, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) =>
    response.writeHead(code, headers).end("fine");

const often = "timeout: 5s, interval: 0.1s, no_traffic_interval: 0.1s";
const two = "unhealthy_threshold: 2, healthy_threshold: 2";

function cluster(name: string, place: Place, ...parts: readonly string[]): string {
  const [check = "", endpoints = all(), ...more] = parts;
  const path = `/check/${name}/${place.port}`;
  const assignment = `{cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoints}]}]}`;
  const checks = `[{${check.includes("timeout:") ? "" : `${often}, `}${two}, ${check.replace("PATH", `path: ${path}`)}}]`;
  return `{${[`name: ${name}`, "connect_timeout: 10s", `load_assignment: ${assignment}`, `health_checks: ${checks}`, ...more].join(", ")}}`;
}
const all = (): string => [0, 1, 2].map((i) => servers.endpoint(i)).join(", ");
const at = (port: number): string =>
  `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`;

const names = [
  "plain",
  "statuses",
  "retriable",
  "degraded",
  "slow",
  "receive",
  "no-receive",
  "service",
  "no-service",
  "post",
  "own",
  "elsewhere",
  "off",
  "closing",
  "tcp",
  "tcp-dead",
  "tcp-talk",
  "tcp-wrong",
  "excluded",
  "new",
  "no-panic",
  "immediate",
  "connections",
] as const;

before(async () => {
  await servers.open();
  const open = (server: net.Server): Promise<number> =>
    new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port));
    });
  silentPort = await open(silent);
  shoutingPort = await open(shouting);
  deadPort = await freePort();
  answers.set("plain 1", status(503));
  answers.set("statuses 0", status(204));
  answers.set("statuses 1", status(404));
  answers.set("statuses 2", status(200));
  answers.set("retriable 2", status(503));
  answers.set("degraded 0", status(200, { "x-envoy-degraded": "1" }));
  answers.set("slow 2", () => {});
  answers.set("service 0", status(200, { "x-envoy-upstream-healthchecked-cluster": "shop-1" }));
  answers.set("excluded 1", status(503, { "x-envoy-immediate-health-check-fail": "1" }));
  answers.set("closing 0", status(200, { connection: "close" }));
  for (const index of [0, 1]) answers.set(`no-panic ${index}`, status(500));
  planes = await startPlanes(
    (place) =>
      bootstrapOf(place, {
        clusters: [
          cluster("plain", place, "http_health_check: {PATH}"),
          cluster(
            "statuses",
            place,
            "http_health_check: {PATH, expected_statuses: [{start: 200, end: 202}, {start: 204, end: 205}]}",
          ),
          cluster(
            "retriable",
            place,
            "http_health_check: {PATH, retriable_statuses: [{start: 503, end: 504}]}",
          ),
          cluster(
            "degraded",
            place,
            "http_health_check: {PATH}",
            [0, 1].map((i) => servers.endpoint(i)).join(", "),
          ),
          cluster(
            "slow",
            place,
            "timeout: 0.2s, interval: 0.1s, no_traffic_interval: 0.1s, http_health_check: {PATH}",
          ),
          cluster(
            "receive",
            place,
            "http_health_check: {PATH, receive: [{text: '66696e'}, {binary: 'ZQ=='}]}",
          ),
          cluster(
            "no-receive",
            place,
            "http_health_check: {PATH, receive: [{text: '65'}, {text: '66'}]}",
          ),
          cluster(
            "service",
            place,
            "http_health_check: {PATH, service_name_matcher: {prefix: shop}}",
          ),
          cluster(
            "no-service",
            place,
            "http_health_check: {PATH, service_name_matcher: {exact: other}}",
          ),
          cluster(
            "post",
            place,
            "http_health_check: {PATH, method: POST, host: shop.test, send: {text: '6869'}, request_headers_to_add: [{header: {key: x-one, value: '1'}}, {header: {key: user-agent, value: mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}",
          ),
          cluster(
            "own",
            place,
            "http_health_check: {PATH}",
            `{endpoint: {hostname: mine.test, health_check_config: {port_value: ${servers.port}, hostname: check.test}, address: {socket_address: {address: 127.0.7.1, port_value: ${deadPort}}}}}`,
          ),
          cluster(
            "elsewhere",
            place,
            "http_health_check: {PATH}",
            `{endpoint: {health_check_config: {address: {socket_address: {address: 127.0.7.2, port_value: ${servers.port}}}}, address: {socket_address: {address: 127.0.7.1, port_value: ${deadPort}}}}}`,
          ),
          cluster(
            "off",
            place,
            "http_health_check: {PATH}",
            `{endpoint: {health_check_config: {disable_active_health_check: true}, address: {socket_address: {address: 127.0.0.1, port_value: ${deadPort}}}}}`,
          ),
          cluster("closing", place, "http_health_check: {PATH}", servers.endpoint(0)),
          cluster(
            "connections",
            place,
            "reuse_connection: false, http_health_check: {PATH}",
            servers.endpoint(0),
          ),
          cluster("tcp", place, "tcp_health_check: {}", at(silentPort)),
          cluster("tcp-dead", place, "tcp_health_check: {}", at(deadPort)),
          cluster(
            "tcp-talk",
            place,
            "tcp_health_check: {send: {text: '70696e67'}, receive: [{text: '706f'}, {text: '6e67'}]}",
            at(shoutingPort),
          ),
          cluster(
            "tcp-wrong",
            place,
            "timeout: 0.2s, interval: 0.1s, no_traffic_interval: 0.1s, tcp_health_check: {send: {text: '70'}, receive: [{text: '706f'}]}",
            at(shoutingPort),
          ),
          cluster("excluded", place, "http_health_check: {PATH}"),
          cluster(
            "new",
            place,
            "http_health_check: {PATH}",
            all(),
            "common_lb_config: {ignore_new_hosts_until_first_hc: true}",
          ),
          cluster(
            "no-panic",
            place,
            "http_health_check: {PATH}",
            all(),
            "common_lb_config: {healthy_panic_threshold: {value: 0}}",
          ),
          cluster(
            "immediate",
            place,
            "timeout: 50s, interval: 60s, no_traffic_interval: 60s, http_health_check: {PATH}",
          ),
        ],
        routes: names.map((name) => `{match: {prefix: /${name}/}, route: {cluster: ${name}}}`),
      }),
    { workers: 2 },
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
  silent.close();
  shouting.close();
});

const agreed = <T>(ask: (plane: Plane) => Promise<T>, isDone: (found: T) => boolean): Promise<T> =>
  agreedOf(planes, ask, isDone);

const flags: Readonly<Record<string, readonly string[]>> = {
  plain: ["healthy", "/failed_active_hc", "healthy"],
  statuses: ["healthy", "/failed_active_hc", "healthy"],
  retriable: ["healthy", "healthy", "/failed_active_hc"],
  degraded: ["/degraded_active_hc", "healthy"],
  slow: ["healthy", "healthy", "/failed_active_hc/active_hc_timeout"],
  receive: ["healthy", "healthy", "healthy"],
  "no-receive": ["/failed_active_hc", "/failed_active_hc", "/failed_active_hc"],
  service: ["healthy", "/failed_active_hc", "/failed_active_hc"],
  "no-service": ["/failed_active_hc", "/failed_active_hc", "/failed_active_hc"],
  post: ["healthy", "healthy", "healthy"],
  own: ["healthy"],
  elsewhere: ["healthy"],
  off: ["healthy"],
  tcp: ["healthy"],
  "tcp-dead": ["/failed_active_hc"],
  "tcp-talk": ["healthy"],
  "tcp-wrong": ["/failed_active_hc/active_hc_timeout"],
  excluded: ["healthy", "/failed_active_hc/excluded_via_immediate_hc_fail", "healthy"],
  new: ["healthy", "healthy", "healthy"],
};

for (const [name, expected] of Object.entries(flags)) {
  test(`endpoints of '${name}' are ${expected.join(", ")}`, async () => {
    const found = await agreed(
      (plane) => flagsOf(plane, name),
      (lines) => lines.every((line, i) => line.endsWith(`:${expected[i] ?? ""}`)),
    );
    assert.equal(found.length, expected.length);
    await agreed(
      (plane) => statusesOf(plane, name),
      () => true,
    );
  });
}

const shownSeries =
  /^envoy_cluster_(?:membership_(?:total|healthy|degraded|excluded)|health_check_(?:healthy|degraded))\{/;

for (const name of ["plain", "degraded", "excluded", "new", "no-receive"]) {
  test(`the series of '${name}' say how many are well`, async () => {
    await agreed(
      async (plane) =>
        (await plane.admin("/stats/prometheus"))
          .replaceAll("{envoy_cluster_name=", "{cluster_name=")
          .split("\n")
          .filter((line) => shownSeries.test(line) && line.includes(`cluster_name="${name}"`))
          .toSorted(),
      (lines) => lines.length >= 6,
    );
  });
}

test("the question is Envoy's", async () => {
  for (const name of ["plain", "post", "own"]) {
    const heads = planes.map((plane) => asked.get(`${name} ${plane.port}`)?.[0]?.head);
    for (const [i, plane] of planes.entries()) assert.equal(heads[i], heads.at(-1), plane.name);
    assert.notEqual(heads[0], undefined);
  }
});

test("connections are used again unless that is forbidden, here or there", async () => {
  await sleep(500);
  for (const plane of planes) {
    // While everything starts, checks may have taken too long.
    const connections = (name: string, count: number): number => {
      const last = (asked.get(`${name} ${plane.port}`) ?? []).slice(-count);
      assert.equal(last.length, count, `${plane.name}, ${name}`);
      return new Set(last.map(({ socket }) => socket)).size;
    };
    assert.equal(connections("plain", 9), 3, plane.name);
    for (const name of ["closing", "connections"]) {
      assert.equal(connections(name, 3), 3, `${plane.name}, ${name}`);
    }
  }
});

test("requests go to those that are well", async () => {
  for (const plane of planes) {
    const bodies = new Set<string>();
    for (let i = 0; i < 12; i++) bodies.add((await plane.ask("/plain/")).body);
    assert.deepEqual([...bodies].toSorted(), ["0", "2"], plane.name);
  }
});

test("where too few are well and panic is off, one that is well takes it all", async () => {
  for (const plane of planes) {
    for (let i = 0; i < 6; i++) {
      const { status: code, body } = await plane.ask("/no-panic/");
      assert.deepEqual({ code, body }, { code: 200, body: "2" }, plane.name);
    }
  }
});

test("an answer to a request can ask that its endpoint be left out", async () => {
  for (const plane of planes) {
    const failed = await plane.ask("/immediate/", { "x-fail-me": "1" });
    for (let i = 0; i < 8 && failed.body !== "1"; i++) {
      const { body, headers } = await plane.ask("/immediate/", { "x-fail-me": "1" });
      if (body !== "1") continue;
      assert.equal(headers["x-envoy-immediate-health-check-fail"], "true");
      break;
    }
  }
  await agreed(
    (plane) => flagsOf(plane, "immediate"),
    (lines) => lines[1]?.endsWith("/failed_active_hc/excluded_via_immediate_hc_fail") === true,
  );
});

test("health changes with the answers, by the thresholds", async () => {
  const expect = (at1: string) =>
    agreed(
      (plane) => flagsOf(plane, "plain"),
      (lines) => lines[1]?.endsWith(at1) === true,
    );
  answers.delete("plain 1");
  await expect(":healthy");
  answers.set("plain 1", (request) => request.socket.destroy());
  await expect("/failed_active_hc");
});
