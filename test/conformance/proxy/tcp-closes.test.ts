/**
 * How a TCP connection ends, seen by either side: whether the data plane passes a FIN on as FIN and a
 * reset as reset, and what its log says. Envoy runs the same file.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { load } from "js-yaml";

import { systemClock } from "../../../src/base/clock.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import { startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";

const doors = ["served", "refused", "missing", "empty"] as const;
type Door = (typeof doors)[number];
type Ports = { readonly [name in Door]: number };

/** What a side saw last: an orderly end, or a reset. `gone`: it broke off itself. */
type Ending = "open" | "end" | "reset" | "gone";

interface Outcome {
  readonly client: Ending;
  readonly received: string;
  /** "none": it was never asked. */
  readonly application: Ending | "none";
  readonly log: string;
}

interface Scenario {
  readonly name: string;
  readonly door: Door;
  /** What the client does once it has its answer. */
  readonly client?: "ends" | "resets";
  /** What the application does once it has answered. */
  readonly application?: "ends" | "resets";
  /** How the log begins. */
  readonly logs: string;
}

const scenarios: readonly Scenario[] = [
  { name: "passes the client's end", door: "served", client: "ends", logs: "-" },
  { name: "passes the client's reset", door: "served", client: "resets", logs: "-" },
  { name: "passes the application's end", door: "served", application: "ends", logs: "-" },
  { name: "passes the application's reset", door: "served", application: "resets", logs: "UR" },
  { name: "resets where nobody listens", door: "refused", logs: "UF,URX" },
  { name: "resets where there is no cluster", door: "missing", logs: "NC" },
  { name: "resets where there is no endpoint", door: "empty", logs: "UH" },
];

interface Plane {
  readonly ports: Ports;
  readonly readLog: () => readonly string[];
  readonly close: () => Promise<void>;
}

const extensions = "type.googleapis.com/envoy.extensions";
const format = "%RESPONSE_FLAGS% in=%BYTES_RECEIVED% out=%BYTES_SENT%\\n";

function bootstrap(ports: Ports, logFile: string, upstreams: Readonly<Record<string, number>>) {
  const clusters = Object.entries(upstreams).map(([name, port]) => {
    const address = `{socket_address: {address: 127.0.0.1, port_value: ${port}}}`;
    const endpoints = `[{lb_endpoints: [{endpoint: {address: ${address}}}]}]`;
    return `{name: ${name}, connect_timeout: 10s, type: STATIC, load_assignment: {cluster_name: ${name}, endpoints: ${endpoints}}}`;
  });
  const empty =
    "{name: empty, connect_timeout: 10s, type: STATIC, load_assignment: {cluster_name: empty}}";
  const listeners = doors.map(
    (door) => `
  - name: ${door}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[door]}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: ${door}
          cluster: ${door}
          access_log:
          - name: file
            typed_config:
              "@type": ${extensions}.access_loggers.file.v3.FileAccessLog
              path: ${logFile}
              log_format: {text_format_source: {inline_string: "${format}"}}`,
  );
  return `static_resources:
  clusters: [${[...clusters, empty].join(", ")}]
  listeners:${listeners.join("")}
`;
}

async function freePorts(): Promise<Ports> {
  return {
    served: await freePort(),
    refused: await freePort(),
    missing: await freePort(),
    empty: await freePort(),
  };
}

/** Answers whoever speaks, and does then what the scenario says. */
class Application {
  readonly #server = net.createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
  #then: Scenario["application"];
  #answered: net.Socket | undefined;
  ending: Outcome["application"] = "none";

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const address = this.#server.address();
    assert.ok(address !== null && typeof address !== "string");
    return address.port;
  }

  expect(then: Scenario["application"]): void {
    this.#then = then;
    this.ending = "none";
  }

  /** What the client calls with the answer in hand: a reset overtakes what is on its way. */
  onAnswerSeen(): void {
    if (this.#then !== "resets") return;
    this.ending = "gone";
    this.#answered?.resetAndDestroy();
  }

  close(): void {
    this.#server.close();
  }

  #serve(socket: net.Socket): void {
    this.ending = "open";
    socket.on("error", () => (this.ending = "reset"));
    socket.on("end", () => {
      this.ending = "end";
      socket.end();
    });
    socket.on("data", () => {
      socket.write("answer");
      if (this.#then === "ends") socket.end();
      this.#answered = socket;
    });
  }
}

let folder: string;
let application: Application;
let upstreams: Readonly<Record<string, number>>;
let heddle: Plane;
let envoy: Plane | undefined;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "heddle-tcp-closes-"));
  application = new Application();
  upstreams = { served: await application.listen(), refused: await freePort() };
  heddle = await runHeddle();
  const binary = findEnvoy();
  if (binary !== undefined) envoy = await runEnvoy(binary);
});

after(async () => {
  await heddle.close();
  await envoy?.close();
  application.close();
  rmSync(folder, { recursive: true });
});

async function runHeddle(): Promise<Plane> {
  const ports = await freePorts();
  const lines: string[] = [];
  const { feed, secrets, nodeId } = parseBootstrap({
    name: "tcp.yaml",
    text: bootstrap(ports, "unused", upstreams),
    parseYaml: (yaml) => load(yaml),
    readFile: () => Buffer.alloc(0),
  });
  const clock = systemClock;
  const proxy = startProxy({
    feed,
    secrets,
    clock,
    log: createLog({ level: "error", format: "text", clock, sink: (line) => console.error(line) }),
    metrics: createMetricRegistry(),
    random: Math.random,
    peers: noPeers,
    openLog: () => (memory, length) => void lines.push(memory.toString("utf8", 0, length)),
    nodeId,
    version: "test",
  });
  await proxy.ready;
  const readLog = (): readonly string[] => lines.join("").split("\n").slice(0, -1);
  return { ports, readLog, close: () => proxy.close() };
}

async function runEnvoy(binary: string): Promise<Plane> {
  const ports = await freePorts();
  const logFile = join(folder, "envoy.log");
  const running = startEnvoy(binary, load(bootstrap(ports, logFile, upstreams)), [
    "--file-flush-interval-msec",
    "10",
  ]);
  const isOpen = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = net.connect({ host: "127.0.0.1", port: ports.missing });
      socket.on("error", () => resolve(false));
      socket.on("close", () => resolve(true));
    });
  const deadline = Date.now() + 60_000;
  while (!(await isOpen())) {
    assert.ok(Date.now() < deadline, `Envoy does not listen:\n${running.log()}`);
    await sleep(50);
  }
  // What the look at its door has logged.
  await sleep(100);
  const readLog = (): readonly string[] => readFileSync(logFile, "utf8").split("\n").slice(0, -1);
  return { ports, readLog, close: () => running.stop() };
}

async function play(plane: Plane, scenario: Scenario): Promise<Outcome> {
  application.expect(scenario.application);
  const before = plane.readLog().length;
  const port = plane.ports[scenario.door];
  let client: Ending = "open";
  let received = "";
  const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  socket.on("error", () => (client = "reset"));
  socket.on("end", () => {
    client = "end";
    socket.end();
  });
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString();
    application.onAnswerSeen();
    if (scenario.client === "ends") socket.end();
    if (scenario.client === "resets") {
      client = "gone";
      socket.resetAndDestroy();
    }
  });
  socket.write("hello");
  const deadline = Date.now() + 60_000;
  while (plane.readLog().length === before && Date.now() < deadline) await sleep(5);
  while (client === "open" && Date.now() < deadline) await sleep(5);
  while (application.ending === "open" && Date.now() < deadline) await sleep(5);
  socket.destroy();
  const log = plane.readLog().slice(before).join("\n");
  return { client, received, application: application.ending, log };
}

for (const scenario of scenarios) {
  test(`proxy() ${scenario.name}`, async () => {
    assert.ok(envoy !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
    const ours = await play(heddle, scenario);
    const theirs = await play(envoy, scenario);
    assert.match(ours.log, new RegExp(`^${scenario.logs} `));
    if (scenario.door !== "served") {
      // Envoy just closes: what the client sees depends on whether its bytes had come by then.
      assert.ok(["end", "reset"].includes(theirs.client));
      assert.deepEqual(ours, { ...theirs, client: "reset" });
      return;
    }
    assert.deepEqual(ours, theirs, "actual: Heddle, expected: Envoy");
  });
}
