/** The console's API over its real sockets: who may read, who may write, and what is refused. */
import assert from "node:assert/strict";
import diagnosticsChannel from "node:diagnostics_channel";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startConsole } from "../../src/console/console.ts";
import { type HttpRequest, requestHttp } from "../../src/net/http-request.ts";
import {
  type FakeControlPlane,
  fakeControlPlane,
  shopProblems,
  shopProxies,
  shopResources,
} from "../browser/support/fake-control-plane.ts";
import { fakeProxyAdmin } from "../browser/support/fake-proxy-admin.ts";
import { seedMetrics, shopSnapshot } from "../browser/support/seed.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { silentLog } from "../support/silent-log.ts";

interface Api {
  readonly controlPlane: FakeControlPlane;
  readonly socketPath: string;
  readonly port: number;
  /** As a browser or a tool would: over TCP. */
  readonly ask: (
    path: string,
    more?: Partial<HttpRequest>,
  ) => Promise<{ status: number; body: string }>;
  /** As the owner's command line would. */
  readonly askSocket: (
    path: string,
    more?: Partial<HttpRequest>,
  ) => Promise<{ status: number; body: string }>;
}

const token = "a-token-that-nobody-guesses";
const bearer = { authorization: `Bearer ${token}` };

async function withConsole(check: (api: Api) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-console-"));
  const clock = new FakeClock();
  const workloads = shopSnapshot();
  const controlPlane = fakeControlPlane({
    workloads,
    problems: shopProblems,
    resources: shopResources,
    proxies: shopProxies(workloads, clock.nowMs()),
  });
  const socketPath = join(folder, "api.sock");
  const served = await startConsole({
    mesh: "shop",
    version: "0.0.0",
    listen: { address: "127.0.0.1", port: 0 },
    token,
    apiSocket: socketPath,
    controlPlane,
    metrics: seedMetrics(clock.nowMs(), 120_000),
    stateDir: folder,
    log: silentLog,
    clock,
    request: fakeProxyAdmin,
    ui: join(folder, "no-ui"),
  });
  const send = async (path: string, { headers, ...more }: Partial<HttpRequest>) => {
    const url = `http://localhost:${served.address?.port}${path}`;
    const { status, text } = await requestHttp({
      url,
      timeoutMs: 5000,
      responseBytesMax: 1e8,
      ...more,
      headers: { ...(more.socketPath === undefined ? bearer : {}), ...headers },
    });
    return { status, body: text };
  };
  try {
    await check({
      controlPlane,
      socketPath,
      port: served.address?.port ?? 0,
      ask: (path, more = {}) => send(path, more),
      askSocket: (path, more = {}) => send(path, { socketPath, ...more }),
    });
  } finally {
    await served.close();
    rmSync(folder, { recursive: true });
  }
}

const json = { "content-type": "application/json" };
const deletion: Partial<HttpRequest> = {
  method: "POST",
  headers: json,
  body: JSON.stringify({ ref: { kind: "Gateway", namespace: "default", name: "storefront" } }),
};

const paths = [
  "/api/status",
  "/api/graph?window=30s",
  "/api/services",
  "/api/services/default/catalog?window=5m",
  "/api/workloads",
  "/api/proxies",
  "/api/proxies/cart-0.default/config_dump",
  "/api/proxies/cart-0.default/clusters?format=json",
  "/api/config?kind=gateway",
  "/api/logs/cart-0.default?lines=10&stream=proxy",
  "/api/v1/query?query=up",
  "/api/v1/status/buildinfo",
];

test("console answers every path of its API", () =>
  withConsole(async (api) => {
    for (const path of paths) {
      assert.equal((await api.ask(path)).status, 200, path);
      assert.equal((await api.askSocket(path)).status, 200, path);
    }
    assert.equal((await api.ask("/")).status, 200);
  }));

test("console answers over TCP only with its token, and to its socket's owner without", () =>
  withConsole(async (api) => {
    assert.equal(statSync(api.socketPath).mode & 0o777, 0o600);
    assert.equal((await api.askSocket("/api/config/delete", deletion)).status, 200);
    assert.equal((await api.ask("/api/config/delete", deletion)).status, 200);
    const strangers = [{ authorization: "" }, { authorization: "Bearer guess" }];
    for (const headers of strangers) {
      const closed = { ...deletion, headers: { ...json, ...headers } };
      assert.equal((await api.ask("/api/config/delete", closed)).status, 401);
      for (const path of [...paths, "/api/events", "/%61pi/status", "/api/v1/query?query=up"]) {
        const { status, body } = await api.ask(path, { headers });
        assert.equal(status, 401, `${path} ${headers.authorization}`);
        assert.equal(JSON.parse(body).code, "console.no-token");
      }
      // The page itself says nothing of the mesh, and asks for the token.
      assert.equal((await api.ask("/", { headers })).status, 200);
      assert.equal((await api.ask("/api/nothing", { headers })).status, 404);
    }
    assert.equal(api.controlPlane.calls.length, 2);
    const levels = "/api/proxies/cart-0.default/logging?level=debug";
    assert.match((await api.askSocket(levels, { method: "POST" })).body, /POST \?level=debug/);
    // Reading the levels changes none, whatever the query says.
    assert.doesNotMatch((await api.ask(levels)).body, /debug/);
  }));

/** Names of the header fields that anything reads of requests for `path`, while `run` goes on. */
async function fieldsRead(path: string, run: () => Promise<void>): Promise<readonly string[]> {
  const names = new Set<string>();
  const record = (name: string | symbol): void => {
    if (typeof name === "string") names.add(name);
  };
  const onRequest = (message: unknown): void => {
    const request: unknown = Reflect.get(Object(message), "request");
    if (!(request instanceof IncomingMessage) || request.url !== path) return;
    const headers = new Proxy(request.headers, {
      get: (target, name) => (record(name), Reflect.get(target, name)),
      has: (target, name) => (record(name), Reflect.has(target, name)),
      ownKeys: (target) => (record("all"), Reflect.ownKeys(target)),
    });
    Object.defineProperty(request, "headers", { value: headers });
    for (const other of ["rawHeaders", "headersDistinct"]) {
      const get = (): undefined => {
        record(other);
      };
      Object.defineProperty(request, other, { get });
    }
  };
  diagnosticsChannel.subscribe("http.server.request.start", onRequest);
  try {
    await run();
  } finally {
    diagnosticsChannel.unsubscribe("http.server.request.start", onRequest);
  }
  return [...names].toSorted();
}

test("console lets no header but the token's decide who may ask", () =>
  withConsole(async ({ ask }) => {
    const path = "/api/status";
    const read = await fieldsRead(path, async () => {
      assert.equal((await ask(path, { headers: { authorization: "" } })).status, 401);
    });
    const judged = ["authorization", "host", "origin", "sec-fetch-site"];
    const framing = ["connection", "expect"];
    assert.deepEqual(read, [...judged, ...framing].toSorted());
  }));

test("console refuses other names, other sites and malformed requests", () =>
  withConsole(async (api) => {
    const check = async (
      path: string,
      status: number,
      more: Partial<HttpRequest> = {},
    ): Promise<void> => {
      assert.equal(
        (await api.ask(path, more)).status,
        status,
        `${path} ${JSON.stringify(more.headers)}`,
      );
    };
    await check("/api/status", 403, { headers: { host: "evil.example.com" } });
    await check("/", 403, { headers: { host: "evil.example.com" } });
    await check("/api/status", 403, { headers: { origin: "http://evil.example.com" } });
    await check("/api/config/validate", 403, { ...deletion, headers: { ...json, origin: "null" } });
    await check("/api/graph?window=1y", 400);
    await check("/api/logs/..%2F..%2Fetc%2Fpasswd", 404);
    await check("/api/proxies/cart-0.default/quitquitquit", 404);
    await check("/api/proxies/nobody.default/stats", 404);
    await check("/assets/../../package.json", 404);
    await check("/api/config/validate", 400, { method: "POST", headers: json, body: "{" });
    await check("/api/config/validate", 400, { method: "POST", headers: json, body: '{"yaml":1}' });
    await check("/api/config/validate", 413, {
      method: "POST",
      headers: json,
      body: `{"yaml":"${"x".repeat(9e6)}"}`,
    });
    await check("/api/v1/query?query=sum(", 400);
  }));

test("console sends live views, and ends them when it closes", () =>
  withConsole(async ({ port }) => {
    const response = await fetch(`http://localhost:${port}/api/events`, { headers: bearer });
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    assert.match(response.headers.get("content-security-policy") ?? "", /default-src 'none'/);
    const seen = new Set<string>();
    const decoder = new TextDecoder();
    assert.ok(response.body !== null);
    for await (const chunk of response.body) {
      for (const [, kind = ""] of decoder
        .decode(chunk, { stream: true })
        .matchAll(/^event: (\w+)$/gm)) {
        seen.add(kind);
      }
      if (seen.size === 5) break;
    }
    assert.deepEqual([...seen].toSorted(), ["config", "graph", "proxies", "services", "status"]);
  }));

test("console says so when too many pages are open, and goes on", () =>
  withConsole(async ({ port, ask }) => {
    const leave = new AbortController();
    const open = async (): Promise<Response> =>
      await fetch(`http://localhost:${port}/api/events`, {
        headers: bearer,
        signal: leave.signal,
      });
    const pages = await Promise.all(Array.from({ length: 64 }, open));
    assert.deepEqual(new Set(pages.map(({ status }) => status)), new Set([200]));
    const refused = await open();
    assert.equal(refused.status, 503);
    assert.match(refused.headers.get("content-type") ?? "", /^application\/json/);
    assert.match(await refused.text(), /^\{"code":"console.busy","message":"too many pages/);
    assert.equal((await ask("/api/status", { headers: bearer })).status, 200);
    leave.abort();
  }));
