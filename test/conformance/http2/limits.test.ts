/**
 * What ends connections and streams of HTTP/2, frame by frame: ages, numbers, idleness, time-outs. Heddle on
 * either backend, and Envoy with the same file; both count it under Envoy's names.
 */
import assert from "node:assert/strict";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { endHeaders, type Fields, frame, RawClient } from "./raw-client.ts";
import { get } from "./scenarios.ts";

const names = ["portable", "epoll", "envoy"] as const;
type Name = (typeof names)[number];
const extensions = "type.googleapis.com/envoy.extensions";

const doors = {
  age: {
    common_http_protocol_options: { max_connection_duration: "0.3s" },
    drain_timeout: "0.3s",
  },
  few: { common_http_protocol_options: { max_requests_per_connection: 2 }, drain_timeout: "0.3s" },
  idle: { common_http_protocol_options: { idle_timeout: "0.3s" }, drain_timeout: "0.3s" },
  duration: { common_http_protocol_options: { max_stream_duration: "0.3s" } },
  quiet: { stream_idle_timeout: "0.3s" },
  request: { request_timeout: "0.3s" },
  pinged: {
    http2_protocol_options: { connection_keepalive: { interval: "0.1s", timeout: "0.2s" } },
  },
} as const;
type Door = keyof typeof doors;
const doorNames = Object.keys(doors) as Door[];

interface Plane {
  readonly ports: ReadonlyMap<Door, number>;
  /** Envoy's name without its prefix (`downstream_cx_idle_timeout`) → how often, for one door. */
  readonly count: (door: Door, name: string) => Promise<number>;
  readonly close: () => Promise<void>;
}

const planes = new Map<Name, Plane>();
/** Answers that wait until the test says so, by path. */
const held = new Map<string, http.ServerResponse>();
const application = http.createServer((request, response) => {
  const path = request.url ?? "";
  if (path.startsWith("/held")) return void held.set(path, response);
  if (path.startsWith("/begun")) return void response.writeHead(200).write("begun");
  response.end("ok");
});

function bootstrap(ports: ReadonlyMap<Door, number>, applicationPort: number): object {
  const address = (port: number): object => ({
    socket_address: { address: "127.0.0.1", port_value: port },
  });
  const listener = (door: Door): object => ({
    name: door,
    address: address(ports.get(door) ?? 0),
    filter_chains: [
      {
        filters: [
          {
            name: "hcm",
            typed_config: {
              "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: door,
              codec_type: "HTTP2",
              ...doors[door],
              http_filters: [
                {
                  name: "envoy.filters.http.router",
                  typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
                },
              ],
              route_config: {
                virtual_hosts: [
                  {
                    name: "all",
                    domains: ["*"],
                    routes: [{ match: { prefix: "/" }, route: { cluster: "app", timeout: "0s" } }],
                  },
                ],
              },
            },
          },
        ],
      },
    ],
  });
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(applicationPort) } }] }];
  return {
    static_resources: {
      clusters: [
        {
          name: "app",
          connect_timeout: "1s",
          type: "STATIC",
          load_assignment: { cluster_name: "app", endpoints },
        },
      ],
      listeners: doorNames.map(listener),
    },
  };
}

async function start(name: Name, applicationPort: number): Promise<Plane> {
  const ports = new Map<Door, number>();
  for (const door of doorNames) ports.set(door, await freePort());
  const config = bootstrap(ports, applicationPort);
  if (name !== "envoy") {
    const { metrics, close } = await startProxyInProcess(config, name);
    const count = async (door: Door, series: string): Promise<number> =>
      sumOf(metrics(), (line) => line.startsWith(`envoy_http_${series}{`) && line.includes(door));
    return { ports, count, close };
  }
  const adminPort = await freePort();
  const admin = { address: { socket_address: { address: "127.0.0.1", port_value: adminPort } } };
  const envoy = startEnvoy(findEnvoy() ?? assert.fail("no Envoy at hand"), { ...config, admin });
  await untilReady(adminPort);
  return {
    ports,
    count: async (door, series) => {
      const stats = await (await fetch(`http://127.0.0.1:${adminPort}/stats`)).text();
      return sumOf(stats, (line) => line.startsWith(`http.${door}.${series}: `));
    },
    close: () => envoy.stop(),
  };
}

function sumOf(text: string, isWanted: (line: string) => boolean): number {
  const lines = text.split("\n").filter(isWanted);
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

async function untilReady(adminPort: number): Promise<void> {
  for (let turn = 0; turn < 400; turn++) {
    const isReady = await fetch(`http://127.0.0.1:${adminPort}/ready`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (isReady) return;
    await sleep(50);
  }
  assert.fail("Envoy does not serve");
}

before(async () => {
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const { port } = application.address() as AddressInfo;
  for (const name of names) planes.set(name, await start(name, port));
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  application.close();
  application.closeAllConnections();
});

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!isSo()) {
    assert.ok(performance.now() < deadline, what);
    await sleep(5);
  }
}

const post = (path: string): Fields =>
  get(path).map(([name, value]) => (name === ":method" ? [name, "POST"] : [name, value]));
let turn = 0;

interface Limit {
  readonly door: Door;
  readonly run: (client: RawClient) => Promise<void>;
  /** Envoy's series that grow by one. */
  readonly counts: readonly string[];
}

const seen = (client: RawClient, event: string): Promise<void> =>
  until(`${event} did not come, but ${client.events.join()}`, () => client.events.includes(event));
const closed = (client: RawClient): Promise<void> =>
  until(`it was not closed: ${client.events.join()}`, () => client.isClosed);

const limits: Readonly<Record<string, Limit>> = {
  "an old connection without streams": {
    door: "age",
    run: async (client) => {
      client.request(1, get("/ok"));
      await closed(client);
    },
    counts: ["downstream_cx_max_duration_reached"],
  },
  "an old connection whose streams go on, and begin": {
    door: "age",
    run: async (client) => {
      const path = `/held${turn++}`;
      client.request(1, get(path));
      await seen(client, "GOAWAY max 0");
      client.request(3, get("/ok"));
      await seen(client, "END 3");
      await seen(client, "GOAWAY 3 0");
      held.get(path)?.end("late");
      await closed(client);
    },
    counts: ["downstream_cx_max_duration_reached"],
  },
  "a connection that has had its requests": {
    door: "few",
    run: async (client) => {
      for (const id of [1, 3]) {
        client.request(id, get("/ok"));
        await seen(client, `END ${id}`);
      }
      await closed(client);
    },
    counts: ["downstream_cx_max_requests_reached"],
  },
  "a connection that was never used": {
    door: "idle",
    run: closed,
    counts: ["downstream_cx_idle_timeout"],
  },
  "an idle connection that is used while it ends": {
    door: "idle",
    run: async (client) => {
      await seen(client, "GOAWAY max 0");
      client.request(1, get("/ok"));
      await seen(client, "END 1");
      await closed(client);
    },
    counts: ["downstream_cx_idle_timeout"],
  },
  "a stream that takes too long": {
    door: "duration",
    run: async (client) => {
      client.request(1, get(`/held${turn++}`));
      await seen(client, "END 1");
    },
    counts: ["downstream_rq_max_duration_reached"],
  },
  "a stream whose answer takes too long": {
    door: "duration",
    run: async (client) => {
      client.request(1, get("/begun"));
      await seen(client, "HEAD 1 200");
      await until("it was not reset", () => client.streams.get(1)?.reset !== undefined);
    },
    counts: ["downstream_rq_max_duration_reached"],
  },
  "a stream on which nothing moves": {
    door: "quiet",
    run: async (client) => {
      client.request(1, get(`/held${turn++}`));
      await seen(client, "END 1");
    },
    counts: ["downstream_rq_idle_timeout"],
  },
  "a stream whose answer does not go on": {
    door: "quiet",
    run: async (client) => {
      client.request(1, get("/begun"));
      await until("it was not reset", () => client.streams.get(1)?.reset !== undefined);
    },
    counts: ["downstream_rq_idle_timeout"],
  },
  "a request that does not end": {
    door: "request",
    run: async (client) => {
      client.request(1, post(`/held${turn++}`), endHeaders);
      client.frame(frame.data, 0, 1, Buffer.from("x"));
      await until("it has no end", () => client.streams.get(1)?.reset !== undefined);
    },
    counts: ["downstream_rq_timeout"],
  },
  "a client that does not answer PING": {
    door: "pinged",
    run: closed,
    counts: [],
  },
};

async function run(name: Name, { door, run: act, counts }: Limit) {
  const plane = planes.get(name) ?? assert.fail();
  const before = await Promise.all(counts.map((series) => plane.count(door, series)));
  const client = await RawClient.connect(plane.ports.get(door) ?? 0);
  client.begin();
  await act(client);
  client.close();
  const grown: string[] = [];
  for (const [at, series] of counts.entries()) {
    const deadline = performance.now() + 2000;
    let more = 0;
    while (more === 0 && performance.now() < deadline) {
      more = (await plane.count(door, series)) - (before[at] ?? 0);
    }
    grown.push(`${series} ${more}`);
  }
  return { events: client.events, grown };
}

for (const [what, limit] of Object.entries(limits)) {
  for (const io of ["portable", "epoll"] as const) {
    test(`http2 ends ${what} as Envoy does (${io})`, async () => {
      const [heddle, envoy] = await Promise.all([run(io, limit), run("envoy", limit)]);
      assert.deepEqual(heddle, envoy, "actual: Heddle, expected: Envoy");
      assert.deepEqual(
        heddle.grown,
        limit.counts.map((series) => `${series} 1`),
      );
    });
  }
}
