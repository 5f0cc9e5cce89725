/**
 * `heddle proxy --supervised`: a proxy that was killed, and one that is replaced, refuse no connection (under load: hot-restart.test.ts).
 * The proxies run from the bundle, as those of a mesh.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";

import { openBundle } from "../../../src/cli/bundle.ts";
import { freePort } from "../../support/free-port.ts";
import { watchProcessorTime, watchProcessorWait } from "../../support/processor-wait.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";

/** Of `/long`: as long as it takes to start two proxies one after the other. */
const longMs = 10_000;

interface Supervised {
  readonly keeper: ChildProcess;
  readonly port: number;
  readonly errors: () => string;
  /** Of the proxies that there are now. */
  readonly proxies: () => readonly number[];
  readonly ended: Promise<unknown>;
  /** Of the file it was started with. */
  readonly folder: string;
}

async function startApplication(t: TestContext): Promise<number> {
  const application = http.createServer((request, response) => {
    request.resume();
    if (request.url !== "/long") return void request.on("end", () => response.end("ok"));
    response.write("begun");
    setTimeout(() => response.end("ended"), longMs);
  });
  application.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", 4096, resolve));
  t.after(() => {
    application.closeAllConnections();
    application.close();
  });
  return (application.address() as AddressInfo).port;
}

function fileOf(port: number, application: number, transportSocket: string): string {
  const type = "type.googleapis.com/envoy.extensions.filters";
  return `
static_resources:
  listeners:
    - name: l
      address: { socket_address: { address: 127.0.0.1, port_value: ${port} } }
      filter_chains:
        - ${transportSocket}
          filters:
            - name: http
              typed_config:
                "@type": ${type}.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: test
                route_config:
                  virtual_hosts:
                    - { name: all, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: app } }] }
                http_filters:
                  - { name: router, typed_config: { "@type": ${type}.http.router.v3.Router } }
  clusters:
    - name: app
      circuit_breakers: { thresholds: [{ max_connections: 4096, max_requests: 4096 }] }
      load_assignment:
        cluster_name: app
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address: { socket_address: { address: 127.0.0.1, port_value: ${application} } }
`;
}

/** Where another process listens already. */
function tcpListener(others: net.Server): string {
  const { port } = others.address() as AddressInfo;
  const type = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
  return `
    - name: busy
      address: { socket_address: { address: 127.0.0.1, port_value: ${port} } }
      filter_chains:
        - filters:
            - name: tcp
              typed_config: { "@type": ${type}, stat_prefix: tcp, cluster: app }
`;
}

async function supervise(t: TestContext, ...more: readonly string[]): Promise<Supervised> {
  return await superviseWith(t, "", more);
}

async function superviseWith(
  t: TestContext,
  transportSocket: string,
  more: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<Supervised> {
  const { main, problem } = await openBundle();
  assert.equal(problem, undefined);
  const folder = mkdtempSync(join(tmpdir(), "heddle-supervised-"));
  const port = await freePort();
  const file = join(folder, "proxy.yaml");
  writeFileSync(file, fileOf(port, await startApplication(t), transportSocket));
  const args = ["--disable-warning=ExperimentalWarning", main, "proxy", "--config", file];
  const keeper = spawn(process.execPath, [...args, "--supervised", ...more], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, ...variables },
  });
  let errors = "";
  keeper.stderr?.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const ended = once(keeper, "close");
  const proxies = (): readonly number[] =>
    readFileSync(`/proc/${keeper.pid}/task/${keeper.pid}/children`, "utf8")
      .split(" ")
      .filter((pid) => pid.trim() !== "")
      .map(Number);
  t.after(async () => {
    keeper.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true });
  });
  while (!errors.includes("the first complete configuration serves\n")) {
    assert.equal(keeper.exitCode, null, errors);
    await sleep(20);
  }
  return { keeper, port, errors: () => errors, proxies, ended, folder };
}

/** One request on a connection of its own: what was answered, or what became of the connection. */
function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    let text = "";
    socket.on("connect", () =>
      socket.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    );
    socket.on("data", (chunk) => (text += chunk.toString("latin1")));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    socket.on("close", () => resolve(/^HTTP\/1.1 \d+/.test(text) ? text : "closed"));
  });
}

/** Resolves, once an answer that takes long has begun, with all of it. */
function openLong(port: number): Promise<{ readonly whole: Promise<string> }> {
  const socket = net.connect(port, "127.0.0.1");
  return new Promise((resolve) => {
    let text = "";
    const whole = new Promise<string>((end) => {
      socket.on("error", () => {});
      socket.on("close", () => end(text));
    });
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (text.includes("begun")) resolve({ whole });
    });
    socket.write("GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
  });
}

/** Asks on new connections until it is told to stop; counts what came of them. */
function keepAsking(port: number, lanes: number): () => Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  let isOver = false;
  const lane = async (): Promise<void> => {
    while (!isOver) {
      const answer = (await ask(port)).slice(0, 12);
      counts.set(answer, (counts.get(answer) ?? 0) + 1);
    }
  };
  const all = Promise.all(Array.from({ length: lanes }, lane));
  return async () => {
    isOver = true;
    await all;
    return counts;
  };
}

for (const workers of ["0", "2"]) {
  test(`a proxy that was killed serves again within a second, and no connection is refused (${workers} workers)`, async (t) => {
    const { keeper, port, proxies, errors } = await supervise(t, "--concurrency", workers);
    const took: number[] = [];
    for (let i = 0; i < 3; i++) {
      const [pid = 0] = proxies();
      const stop = keepAsking(port, 4);
      await sleep(200);
      const waitedMs = watchProcessorWait(() => [process.pid, keeper.pid ?? 0, ...proxies()]);
      const ranMs = watchProcessorTime(() => [keeper.pid ?? 0, ...proxies()]);
      const start = performance.now();
      process.kill(pid, "SIGKILL");
      while (proxies().includes(pid)) await sleep(1);
      assert.match(await ask(port), /^HTTP\/1.1 200/);
      // What some waited while others ran is no time of the whole: it is not less than they ran.
      took.push(Math.max(performance.now() - start - waitedMs(), ranMs()));
      const counts = await stop();
      assert.equal(counts.get("ECONNREFUSED"), undefined);
      // What was being answered is lost with the process: one request of each asker at most.
      const lost = [...counts].filter(([answer]) => answer !== "HTTP/1.1 200");
      assert.ok(lost.reduce((sum, [, count]) => sum + count, 0) <= 4, JSON.stringify(lost));
    }
    t.diagnostic(
      `served again, with a processor, after ${took.map((ms) => Math.round(ms)).join(", ")} ms`,
    );
    assert.ok(Math.min(...took) < 1000, took.join(" "));
    assert.match(errors(), /error heddle the proxy has ended signal=SIGKILL\n/);
  });
}

test("what a proxy and its workers have compiled is there for the next one while they still serve", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-compiled-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const { keeper } = await superviseWith(t, "", ["--concurrency", "1"], {
    NODE_COMPILE_CACHE: folder,
  });
  // One folder for each set of V8's flags: a worker begins with those that its proxy has set.
  const kept = (): number =>
    readdirSync(folder).filter((flags) => readdirSync(join(folder, flags)).length > 10).length;
  while (kept() < 2) {
    assert.equal(keeper.exitCode, null);
    await sleep(20);
  }
});

for (const [what, disturb] of [
  ["is killed", (_keeper: ChildProcess, second: number) => process.kill(second, "SIGKILL")],
  ["is replaced itself", (keeper: ChildProcess) => keeper.kill("SIGHUP")],
] as const) {
  test(`a proxy that ${what} while the one before it drains has a successor, and nothing is cut off`, async (t) => {
    const { keeper, port, proxies, errors } = await supervise(t, "--drain-time-s", "20");
    const [first = 0] = proxies();
    const drains = (): number => errors().split("draining drainMs=").length - 1;
    const { whole } = await openLong(port);
    keeper.kill("SIGHUP");
    while (drains() < 1) await sleep(20);
    const [second = 0] = proxies().filter((pid) => pid !== first);
    disturb(keeper, second);
    while (proxies().includes(second)) await sleep(20);
    assert.match(await whole, /^HTTP\/1.1 200[^]*begun[^]*ended/);
    // It takes none any more: who comes in between waits for the third.
    while (proxies().includes(first)) await sleep(20);
    const answer = await Promise.race([ask(port), sleep(20_000, "nobody serves")]);
    assert.match(answer, /^HTTP\/1.1 200/);
    assert.equal(proxies().length, 1);
  });
}

test("a proxy that cannot take another's place takes nothing away from it", async (t) => {
  const { keeper, port, proxies, errors, folder } = await supervise(t);
  const [first = 0] = proxies();
  const others = net.createServer();
  await new Promise<void>((resolve) => others.listen(0, "127.0.0.1", resolve));
  t.after(() => others.close());
  const file = join(folder, "proxy.yaml");
  const written = readFileSync(file, "utf8");
  // Its first listener is bound when the second turns out to be somebody else's.
  writeFileSync(file, written.replace(/^ {2}clusters:$/m, `${tcpListener(others)}$&`));
  keeper.kill("SIGHUP");
  while (!/the proxy has ended code=\d/.test(errors())) await sleep(20);
  assert.match(errors(), /EADDRINUSE|address already in use/);
  assert.deepEqual(proxies(), [first]);
  writeFileSync(file, written);
  const stop = keepAsking(port, 4);
  keeper.kill("SIGHUP");
  const attempts = (): number => errors().split("the proxy has ended").length - 1;
  while (proxies().includes(first) && attempts() < 2) await sleep(20);
  const counts = await stop();
  assert.equal(attempts(), 1, errors());
  assert.deepEqual([...counts.keys()], ["HTTP/1.1 200"]);
});

test("a proxy whose keeper was killed gives its port back, and ends when it has answered", async (t) => {
  const { keeper, port, errors, ended } = await supervise(t, "--drain-time-s", "60");
  const { whole } = await openLong(port);
  keeper.kill("SIGKILL");
  while (!errors().includes("draining drainMs=")) await sleep(20);
  while ((await ask(port)) !== "ECONNREFUSED") await sleep(20);
  assert.match(await whole, /^HTTP\/1.1 200[^]*begun[^]*ended/);
  // What it says to the file of errors ends with it.
  await ended;
  assert.match(errors(), /the process that keeps the listening sockets has ended/);
});

test("a supervised proxy ends with its keeper, and gives its port back", async (t) => {
  const { keeper, port, ended } = await supervise(t, "--concurrency", "1");
  keeper.kill("SIGTERM");
  await ended;
  assert.equal(keeper.exitCode, 0);
  assert.equal(await ask(port), "ECONNREFUSED");
});

for (const workers of ["0", "2"]) {
  test(`a TLS session outlives the proxy that began it (${workers} workers)`, async (t) => {
    const authority = await makeTestAuthority();
    const { chainPem, privateKeyPem } = await authority.issue({ dnsNames: ["kept.example"] });
    const socket = {
      name: "tls",
      typed_config: {
        "@type":
          "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context: {
          tls_certificates: [
            {
              certificate_chain: { inline_string: chainPem },
              private_key: { inline_string: privateKeyPem },
            },
          ],
        },
      },
    };
    const written = `transport_socket: ${JSON.stringify(socket)}`;
    const { keeper, port, proxies, folder } = await superviseWith(t, written, [
      "--concurrency",
      workers,
    ]);
    const first = await handshake(port, authority.rootPem);
    assert.equal(first.isResumed, false);
    for (const signal of ["SIGHUP", "SIGKILL"] as const) {
      const [pid = 0] = proxies();
      if (signal === "SIGHUP") keeper.kill(signal);
      else process.kill(pid, signal);
      while (proxies().includes(pid)) await sleep(5);
      const again = await handshake(port, authority.rootPem, first.session);
      assert.equal(again.isResumed, true, signal);
    }
    assert.deepEqual(readdirSync(folder), ["proxy.yaml"], "nothing of it is on disk");
  });
}

/** One connection with a request, which brings the session. */
async function handshake(
  port: number,
  ca: string,
  session?: Buffer,
): Promise<{ readonly isResumed: boolean; readonly session: Buffer }> {
  const offered = session === undefined ? {} : { session };
  const socket = tls.connect({ port, ca, servername: "kept.example", ...offered });
  const given = once(socket, "session");
  socket.write("GET / HTTP/1.1\r\nhost: kept.example\r\n\r\n");
  const [next]: Buffer[] = await given;
  const isResumed = socket.isSessionReused();
  socket.destroy();
  assert(next !== undefined);
  return { isResumed, session: next };
}
