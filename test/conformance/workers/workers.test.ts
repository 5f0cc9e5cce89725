/**
 * A data plane with data workers: connections are shared, one that fails takes only its own
 * connections with it, and what is told of them all is one.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

import { systemClock } from "../../../src/base/clock.ts";
import { openBundle } from "../../../src/cli/bundle.ts";
import { type Proxy, startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { FakeSecrets } from "../../support/secrets.ts";
import { freePort } from "../../support/free-port.ts";
import { watchProcessorWait } from "../../support/processor-wait.ts";
import { threads } from "../../support/workers.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import type { WatchLimits } from "../../../src/proxy/workers/worker-watch.ts";
import type { Failure } from "../../support/failing-worker.ts";

const failingEntry = new URL("../../support/failing-worker.ts", import.meta.url);

/** Of the cluster, in all workers together. */
const requestsMax = 45;

/** With why, where something else than 200 was answered. */
const accessFormat = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";

interface Plane {
  readonly proxy: Proxy;
  readonly port: number;
  readonly logged: string[];
  readonly accessLog: string[];
  readonly ask: (path: string) => Promise<string>;
}

function bootstrapText(port: number, application: number): string {
  const typed = (name: string, fields: object): object => ({
    name,
    typed_config: { "@type": `type.googleapis.com/${name}`, ...fields },
  });
  const manager = typed(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    {
      stat_prefix: "test",
      access_log: [
        typed("envoy.extensions.access_loggers.file.v3.FileAccessLog", {
          path: "/dev/stdout",
          log_format: { text_format_source: { inline_string: `${accessFormat}\n` } },
        }),
      ],
      route_config: {
        name: "r",
        virtual_hosts: [
          {
            name: "all",
            domains: ["*"],
            routes: [{ match: { prefix: "/" }, route: { cluster: "app", timeout: "0s" } }],
          },
        ],
      },
      http_filters: [typed("envoy.extensions.filters.http.router.v3.Router", {})],
    },
  );
  const address = (portValue: number): object => ({
    socket_address: { address: "127.0.0.1", port_value: portValue },
  });
  const endpoint = { endpoint: { address: address(application) } };
  return JSON.stringify({
    static_resources: {
      listeners: [{ name: "l", address: address(port), filter_chains: [{ filters: [manager] }] }],
      clusters: [
        {
          name: "app",
          // One answer with 500 is enough.
          outlier_detection: {
            consecutive_5xx: 1,
            base_ejection_time: "60s",
            max_ejection_percent: 100,
          },
          common_lb_config: { healthy_panic_threshold: { value: 0 } },
          circuit_breakers: { thresholds: [{ max_requests: requestsMax }] },
          load_assignment: { cluster_name: "app", endpoints: [{ lb_endpoints: [endpoint] }] },
        },
      ],
    },
  });
}

async function startPlane(t: TestContext, count: number, entry = failingEntry): Promise<Plane> {
  const application = http.createServer((request, response) => {
    request.resume();
    if (request.url === "/fail") return void response.writeHead(500).end();
    // `/stream` never ends by itself.
    if (request.url === "/stream") response.write("begun");
    else request.on("end", () => response.end("ok"));
  });
  application.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const port = await freePort();
  const logged: string[] = [];
  const accessLog: string[] = [];
  const clock = systemClock;
  const { metrics, workers } = threads(count);
  const { feed, nodeId } = parseBootstrap({
    name: "test",
    text: bootstrapText(port, (application.address() as AddressInfo).port),
    parseYaml: (text) => JSON.parse(text),
    readFile: () => Buffer.alloc(0),
  });
  const proxy = startProxy({
    feed,
    secrets: new FakeSecrets(),
    clock,
    log: createLog({ level: "info", format: "text", clock, sink: (line) => logged.push(line) }),
    metrics,
    workers: { ...workers, entry },
    random: Math.random,
    peers: noPeers,
    openLog: () => (memory, length) =>
      void accessLog.push(...memory.toString("latin1", 0, length).split("\n").slice(0, -1)),
    nodeId,
    version: "test",
  });
  t.after(async () => {
    await proxy.close();
    application.closeAllConnections();
    application.close();
  });
  assert.deepEqual(proxy.refusals(), []);
  await proxy.ready;
  const ask = async (path: string): Promise<string> => {
    const { pathname, searchParams } = new URL(path, "http://admin");
    return (await proxy.admin({ method: "GET", path: pathname, query: searchParams })).body;
  };
  return { proxy, port, logged, accessLog, ask };
}

function fail(failure: Failure): void {
  const channel = new BroadcastChannel("heddle-test-failures");
  channel.postMessage(failure);
  channel.close();
}

/** One request on a connection of its own; `close` or an errno where there is no answer. */
function get(port: number, path = "/"): Promise<string> {
  return new Promise((resolve) => {
    const request = http.get({ port, path, host: "127.0.0.1", agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(String(response.statusCode)));
    });
    request.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

interface Client {
  readonly socket: net.Socket;
  readonly state: { isClosed: boolean; text: string };
}

async function openStream(port: number): Promise<Client> {
  const socket = net.connect(port, "127.0.0.1");
  const state = { isClosed: false, text: "" };
  socket.on("error", () => {});
  socket.on("close", () => (state.isClosed = true));
  socket.on("data", (chunk) => (state.text += chunk.toString("latin1")));
  await once(socket, "connect");
  socket.write("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
  while (!state.text.includes("begun") && !state.isClosed) await sleep(5);
  return { socket, state };
}

test("proxy() gives each worker as many connections as the others", async (t) => {
  const { port, ask } = await startPlane(t, 3);
  const streams: Client[] = [];
  for (let i = 0; i < 30; i++) streams.push(await openStream(port));
  const active = async (): Promise<string> =>
    (await ask("/clusters")).match(/rq_active::(\d+)/)?.[1] ?? "";
  await until(active, "30");
  const connections = async (): Promise<string> =>
    (await ask("/stats?filter=listener_downstream_cx_active")).match(/: (\d+)\n/)?.[1] ?? "";
  await until(connections, "30");
  fail({ number: 2, how: "throw" });
  while (!streams.some(({ state }) => state.isClosed)) await sleep(5);
  await sleep(50);
  assert.equal(streams.filter(({ state }) => state.isClosed).length, 10);
  for (const { socket } of streams) socket.destroy();
});

test("proxy() counts what all workers have in flight against a cluster's limits", async (t) => {
  const { port, ask } = await startPlane(t, 2);
  const isOpen = async (): Promise<string> =>
    (await ask("/stats?filter=default_rq_open")).match(/: (\d)\n/)?.[1] ?? "";
  const streams: Client[] = [];
  for (let i = 0; i < requestsMax; i++) streams.push(await openStream(port));
  assert.deepEqual([await get(port), await get(port)], ["503", "503"]);
  await until(isOpen, "1");
  streams.pop()?.socket.destroy();
  await until(isOpen, "0");
  assert.equal(await get(port), "200");
  // What a worker that failed had in flight is in flight no more.
  fail({ number: 1, how: "throw" });
  while (!streams.some(({ state }) => state.isClosed)) await sleep(5);
  await sleep(50);
  const lost = streams.filter(({ state }) => state.isClosed).length;
  assert.ok(lost > 20, `${lost} of ${requestsMax} streams`);
  for (let i = 0; i < lost + 1; i++) streams.push(await openStream(port));
  assert.equal(await get(port), "503");
  for (const { socket } of streams) socket.destroy();
});

test("proxy() keeps every worker from an endpoint that one has ejected", async (t) => {
  const { port, ask } = await startPlane(t, 2);
  assert.equal(await get(port, "/fail"), "500");
  const ejections = async (): Promise<string> =>
    (await ask("/stats?filter=ejections_active")).match(/: (\d)\n/)?.[1] ?? "";
  await until(ejections, "1");
  // The other hears of it a moment after it is counted.
  const answers = async (): Promise<string> =>
    [...new Set(await Promise.all(Array.from({ length: 10 }, () => get(port))))].join(" ");
  await until(answers, "503");
  assert.equal(await answers(), "503");
  assert.match(await ask("/clusters"), /health_flags::\/failed_outlier_check/);
});

for (const how of ["throw", "reject", "exit"] as const) {
  test(`proxy() lives on when its only worker fails (${how}): no connection is refused or hangs`, async (t) => {
    const { port, logged, ask } = await startPlane(t, 1);
    const some = (): Promise<string[]> => Promise.all(Array.from({ length: 20 }, () => get(port)));
    await some();
    const stream = await openStream(port);
    await ask("/stats");
    const before = descriptors();
    fail({ number: 1, how });
    while (!stream.state.isClosed) await sleep(2);
    // The listening socket is there all the time: who comes now is served by the next worker.
    assert.deepEqual(new Set(await some()), new Set(["200"]));
    const log = logged.join("");
    assert.match(log, /error heddle a data worker has ended worker=1 code=\d closed=\d+/);
    if (how !== "exit") assert.match(log, /a data worker failed worker=1 reason="a \w+ /);
    // What the first had counted is in the sum.
    const total = async (): Promise<string> =>
      (await ask("/stats?filter=downstream_rq_total")).match(/: (\d+)\n/)?.[1] ?? "";
    await until(total, "41");
    const isEven = (): string =>
      descriptors() <= before + 5 ? "" : `${before} descriptors before, ${descriptors()} now`;
    await until(async () => isEven(), "");
  });
}

test("proxy() gives a worker that does not answer no connection until it does", async (t) => {
  const { port, logged, ask } = await startPlane(t, 2);
  assert.equal(await get(port), "200");
  fail({ number: 1, how: "hang", ms: 4000 });
  const says = async (what: RegExp): Promise<string> => String(what.test(logged.join("")));
  await until(
    () => says(/warn workers a data worker does not answer worker=1 silentMs=\d+/),
    "true",
  );
  const answers = await Promise.all(Array.from({ length: 20 }, () => get(port)));
  assert.deepEqual(new Set(answers), new Set(["200"]));
  assert.equal(await says(/answers again/), "false");
  const misses = await ask("/stats?filter=workers_watchdog");
  assert.match(misses, /watchdog_mega_miss: 1\n/);
  await until(() => says(/a data worker answers again worker=1/), "true");
});

test("proxy() serves again within 200 ms of a worker's end", async (t) => {
  const { main, problem } = await openBundle();
  assert.equal(problem, undefined);
  const bundled = pathToFileURL(join(dirname(main), "data-worker.js")).href;
  const code = `import "${bundled}";
    const channel = new BroadcastChannel("heddle-test-failures");
    channel.unref();
    channel.onmessage = () => { throw new Error("made by a test"); };`;
  const entry = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const { port } = await startPlane(t, 1, entry);
  const took: number[] = [];
  for (let i = 0; i < 5; i++) {
    // It has lived for long enough to be replaced at once.
    await sleep(1100);
    const stream = await openStream(port);
    fail({ number: 1, how: "throw" });
    while (!stream.state.isClosed) await sleep(1);
    const start = performance.now();
    const waitedMs = watchProcessorWait(() => [process.pid]);
    assert.equal(await get(port), "200");
    took.push(performance.now() - start - waitedMs());
  }
  took.sort((a, b) => a - b);
  t.diagnostic(
    `served again, with a processor, after ${took.map((ms) => Math.round(ms)).join(", ")} ms`,
  );
  assert.ok((took[0] ?? 0) < 200, took.join(" "));
});

test("proxy() loses no line of the access log when it is closed", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-workers-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const { proxy, port, accessLog } = await startPlane(t, 2);
  const paths = Array.from({ length: 200 }, (_, i) => `/${i}`);
  for (let i = 0; i < paths.length; i += 20) {
    const some = paths.slice(i, i + 20).map((path) => get(port, path));
    const answers = await Promise.all(some);
    if (answers.every((answer) => answer === "200")) continue;
    await proxy.close();
    assert.fail(`${answers.join(" ")}: ${accessLog.filter((line) => !isFine(line)).join("; ")}`);
  }
  await proxy.drain();
  await proxy.close();
  const wanted = paths.map((path) => `${path} 200 - via_upstream`);
  assert.deepEqual(accessLog.toSorted(), wanted.toSorted());
});

function isFine(line: string): boolean {
  return line.endsWith(" 200 - via_upstream");
}

/** Asks until it is told what is wanted: a worker that is busy is left out of an answer. */
async function until(told: () => Promise<string>, wanted: string): Promise<void> {
  const endMs = Date.now() + 60_000;
  for (let last = await told(); last !== wanted; last = await told()) {
    if (Date.now() > endMs) assert.equal(last, wanted);
    await sleep(5);
  }
}

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** With two data workers, in a process of its own that fails as it is told by messages. */
async function scriptOf(
  application: number,
  watch: WatchLimits,
): Promise<{ readonly port: number; readonly script: string }> {
  const port = await freePort();
  const source = (path: string): string =>
    JSON.stringify(new URL(`../../../${path}`, import.meta.url).href);
  const script = `
      import { systemClock as clock } from ${source("src/base/clock.ts")};
      import { startProxy } from ${source("src/proxy/proxy.ts")};
      import { parseBootstrap } from ${source("src/proxy/bootstrap.ts")};
      import { createLog } from ${source("src/telemetry/log.ts")};
      import { noPeers } from ${source("src/telemetry/standard-metrics.ts")};
      import { threads } from ${source("test/support/workers.ts")};
      const text = ${JSON.stringify(bootstrapText(port, application))};
      const file = { name: "test", text, parseYaml: JSON.parse, readFile: () => Buffer.alloc(0) };
      const { feed, secrets } = parseBootstrap(file);
      const log = createLog({ level: "error", format: "text", clock,
        sink: (line) => process.stderr.write(line) });
      const { metrics, workers } = threads(2);
      const watch = ${JSON.stringify(watch)};
      const proxy = startProxy({ feed, secrets, clock, log, metrics, random: Math.random,
        workers: { ...workers, entry: new URL(${JSON.stringify(failingEntry.href)}), watch },
        peers: noPeers, openLog: () => () => {}, nodeId: "n", version: "test" });
      await proxy.ready;
      const fail = (failure) => new BroadcastChannel("heddle-test-failures").postMessage(failure);
      process.on("message", fail);
      process.send("ready");`;
  return { port, script };
}

interface ScriptProcess {
  readonly child: ChildProcess;
  readonly errors: () => string;
}

/** Resolves when it serves, or has said so and ended. */
async function run(t: TestContext, script: string, flags: string[] = []): Promise<ScriptProcess> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-workers-"));
  const file = join(folder, "main.mjs");
  writeFileSync(file, script);
  const args = ["--disable-warning=ExperimentalWarning", ...flags, file];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe", "ipc"] });
  t.after(() => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  });
  let errors = "";
  child.stderr?.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  await once(child, "message");
  return { child, errors: () => errors };
}

/** Shorter than those of a process that is not a test's. */
const shortWatch: WatchLimits = { missMs: 200, megaMissMs: 400, endMs: 0, killMs: 800 };
const hang = 'fail({ number: 1, how: "hang" })';

for (const [how, code, signal] of [
  ["process.exit(3)", 3, null],
  ['throw new Error("a fault of the control thread, made by a test")', 1, null],
  [hang, null, "SIGKILL"],
] as const) {
  test(`a process with workers ends as it says (${how})`, async (t) => {
    const { script } = await scriptOf(1, shortWatch);
    const { child, errors } = await run(t, `${script}\nsetImmediate(() => { ${how}; });`);
    if (child.exitCode === null && child.signalCode === null) await once(child, "close");
    assert.deepEqual([child.exitCode, child.signalCode], [code, signal], errors());
    if (signal !== null) assert.match(errors(), /a data worker hangs; the process ends worker=1/);
  });
}

for (const [how, endMs, reason] of [
  // Collecting what cannot be collected holds it up, too.
  ["memory", 60_000, /a data worker failed worker=1 .*memory/],
  ["hang", 800, /a data worker hangs; another takes its place worker=1/],
] as const) {
  test(`a process outlives a worker that is ended within its code (${how})`, async (t) => {
    const application = http.createServer((request, response) => {
      if (request.url === "/stream") response.write("begun");
      else response.end("ok");
    });
    await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      application.closeAllConnections();
      application.close();
    });
    const watch = { ...shortWatch, endMs, killMs: 0 };
    const { port: at } = application.address() as AddressInfo;
    const { port, script } = await scriptOf(at, watch);
    const { child, errors } = await run(t, script, ["--max-old-space-size=64"]);
    const streams: Client[] = [];
    for (let i = 0; i < 10; i++) streams.push(await openStream(port));
    child.send({ number: 1, how });
    // Both that it has and new ones have something to say to it, all the time.
    const closed = (): number => streams.filter(({ state }) => state.isClosed).length;
    while (closed() === 0 && child.exitCode === null && child.signalCode === null) {
      for (const { socket } of streams) socket.write("x");
      await Promise.race([get(port), sleep(20)]);
    }
    await until(async () => String(closed()), "5");
    assert.deepEqual([child.exitCode, child.signalCode], [null, null], errors());
    const hasEnded = /a data worker has ended worker=1 code=1 closed=\d+/;
    await until(async () => String(hasEnded.test(errors())), "true");
    assert.match(errors(), reason);
    const answers = await Promise.all(Array.from({ length: 20 }, () => get(port)));
    assert.deepEqual(new Set(answers), new Set(["200"]));
    for (const { socket } of streams) socket.destroy();
  });
}
