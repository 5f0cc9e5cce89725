/**
 * A server of gRPC, which speaks HTTP/2 without TLS and nothing else, behind the two sidecars of a STRICT
 * mesh: calls, streams of messages, retries by status, and the metrics that tell of them.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { eventually, startMesh } from "./support/mesh.ts";
import { untilTotal } from "./support/proxy-metrics.ts";
import { capturedCases } from "./support/security-mesh.ts";

const application = join(import.meta.dirname, "support/h2c-application.mjs");

const meshFile = `
mesh: calls
console: { port: 0 }
workloads:
- name: client
  command: [{exec}]
- name: server
  command: ["${process.execPath}", "${application}", "50051", {exec}]
  ports: [{ name: grpc-calls, port: 50051 }]
- name: plain
  command: ["${process.execPath}", "-e", 'require("http").createServer((_, answer) => answer.end("plain")).listen(8080)']
  ports: [{ name: http, port: 8080 }]
`;

const rules = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server, namespace: default }
spec:
  hosts: [server]
  http:
  - match: [{ uri: { exact: /denied } }]
    directResponse: { status: 403 }
  - match: [{ uri: { exact: /slow } }]
    fault: { delay: { fixedDelay: 400ms, percentage: { value: 100 } } }
    route: [{ destination: { host: server } }]
    timeout: 20s
  - route: [{ destination: { host: server } }]
    retries: { attempts: 3, retryOn: "unavailable,refused-stream" }
`;

interface CallOptions {
  readonly fields?: Readonly<Record<string, string>>;
  /** The client gives up after so long. */
  readonly cancelsAfterMs?: number;
}

/** Calls one method with so many messages, one after the echo of the one before; prints what came of it. */
function call(path: string, messages: number, options: CallOptions = {}): string {
  const { fields = {}, cancelsAfterMs = 0 } = options;
  const head = {
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    ...fields,
  };
  const program = `
    const session = require("http2").connect("http://server:50051");
    session.on("error", (error) => console.log(error.code));
    const stream = session.request(${JSON.stringify(head)});
    if (${cancelsAfterMs} > 0) setTimeout(() => stream.close(8), ${cancelsAfterMs});
    const message = Buffer.from([0, 0, 0, 0, 3, 97, 98, 99]);
    let sent = 0, got = 0, status = "none";
    const next = () => (sent++ < ${messages} ? stream.write(message) : stream.end());
    stream.on("response", (head) => (status = head[":status"] + " " + (head["grpc-status"] ?? "-") + " " + (head["x-version"] ?? "")));
    stream.on("data", (chunk) => { got += chunk.length; next(); });
    stream.on("trailers", (trailers) => (status += " " + trailers["grpc-status"]));
    stream.on("error", (error) => (status += " " + error.message));
    stream.on("close", () => { console.log(status, got); session.close(); });
    next();`;
  return `${process.execPath} <<'END'\n${program}\nEND`;
}

/** Units of `grpc-timeout`. */
const unitsMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

for (const { mode, dataPlane, title } of capturedCases) {
  test(`a server of gRPC: ${title}`, async (t) => {
    await using mesh = await startMesh({
      mode,
      dataPlane,
      processes: "heddle",
      files: { "heddle.yaml": meshFile, "rules.yaml": rules },
    });
    const run = async (script: string): Promise<string> => {
      const { code, stdout, stderr } = await mesh.workload("client-0").exec(script);
      assert.equal(code, 0, `${stdout}\n${stderr}`);
      return stdout.trim();
    };
    const client = "spiffe://cluster.local/ns/default/sa/default";
    await t.test("calls, and streams of messages", async () => {
      assert.equal(await run(call("/echo", 1)), `200 - ${client} 0 8`);
      assert.equal(await run(call("/echo", 20)), `200 - ${client} 0 160`);
      assert.equal(await run(call("/gone", 1)), `200 - ${client} 5 8`);
    });
    // In a STRICT mesh: it would not get anywhere as bytes.
    await t.test("HTTP/2 is taken on a port of HTTP, too, whose server has HTTP/1.1", async () => {
      const program = `
        const session = require("http2").connect("http://plain:8080");
        session.on("error", (error) => console.log(error.code));
        const stream = session.request({ ":path": "/" });
        stream.on("response", (head) => console.log(head[":status"]));
        stream.on("data", (chunk) => console.log(String(chunk)));
        stream.on("error", (error) => console.log(error.code));
        stream.on("close", () => session.close());`;
      assert.equal(await run(`${process.execPath} <<'END'\n${program}\nEND`), "200\nplain");
    });
    await t.test(
      "a WebSocket reaches it as a stream, from clients of either protocol",
      async () => {
        const overHttp2 = `
        const session = require("http2").connect("http://server:50051");
        session.on("error", (error) => console.log(error.code));
        session.on("remoteSettings", ({ enableConnectProtocol }) => {
          console.log(enableConnectProtocol);
          const stream = session.request({ ":method": "CONNECT", ":protocol": "websocket", ":path": "/chat" });
          stream.on("response", (head) => { console.log(head[":status"]); stream.write("hello"); });
          stream.on("data", (chunk) => { console.log(String(chunk)); stream.end(); });
          stream.on("error", (error) => console.log(error.code));
          stream.on("close", () => session.close());
        });`;
        const overHttp1 = `
        const headers = { connection: "upgrade", upgrade: "websocket" };
        const request = require("http").get({ host: "server", port: 50051, path: "/chat", headers });
        request.on("response", ({ statusCode }) => console.log(statusCode));
        request.on("upgrade", ({ statusCode }, socket) => {
          console.log(statusCode);
          socket.on("data", (chunk) => { console.log(String(chunk)); socket.end(); });
          socket.write("hello");
        });`;
        const ran = async (program: string): Promise<string> =>
          await run(`${process.execPath} <<'END'\n${program}\nEND`);
        assert.equal(await ran(overHttp2), "true\n200\nhello");
        assert.equal(await ran(overHttp1), "101\nhello");
      },
    );
    await t.test("routes and retries by request", async () => {
      assert.match(await run(call("/denied", 1)), /^200 7|^403/);
      assert.equal(await run(call("/flaky", 1)), `200 - ${client} 0 8`);
    });
    const untilGivenUp = async (calls: number): Promise<void> => {
      await eventually(`${calls} calls given up`, async () => {
        const answer = await run(call("/given-up", 1));
        return answer === `200 - ${calls} 0 8`;
      });
    };
    await t.test("deadlines and cancellations reach the other end", async () => {
      const late = await run(call("/never", 1, { fields: { "grpc-timeout": "300m" } }));
      assert.equal(late, "200 4  0");
      await untilGivenUp(1);
      assert.match(await run(call("/never", 1, { cancelsAfterMs: 300 })), /^none/);
      await untilGivenUp(2);
      assert.match(await run(call("/broken", 1)), /^200 - \S+ .* 8$/);
    });
    await t.test(
      "a server is told how much is left of a deadline, behind two proxies",
      async () => {
        const left = async (path: string, deadline: string): Promise<number> => {
          const answer = await run(call(path, 1, { fields: { "grpc-timeout": deadline } }));
          const [, amount, unit] = /^200 - (\d+)([mSunMH]) 0 8$/.exec(answer) ?? [];
          assert(amount !== undefined && unit !== undefined, answer);
          return Number(amount) * (unitsMs[unit] ?? NaN);
        };
        const asked = await left("/deadline", "9S");
        assert(asked > 0 && asked <= 9000, String(asked));
        // The route's timeout bounds it, and what the caller's proxy took counts where it is Heddle's.
        const bounded = await left("/slow", "1M");
        const most = dataPlane === "heddle" ? 20_000 - 400 : 20_000;
        assert(bounded > 0 && bounded <= most, String(bounded));
      },
    );
    await t.test("metrics of both ends tell of gRPC, and of other requests", async () => {
      const other = { "content-type": "text/plain" };
      assert.equal(await run(call("/echo", 1, { fields: other })), `200 - ${client} 0 8`);
      for (const [name, reporter] of [
        ["client-0", "source"],
        ["server-0", "destination"],
      ] as const) {
        const labels = { reporter, request_protocol: "grpc", grpc_response_status: "5" };
        await untilTotal(mesh, { name }, { name: "istio_requests_total", labels, value: 1 });
        const service = "server.default.svc.cluster.local";
        const plain = { reporter, request_protocol: "http", destination_service: service };
        await untilTotal(mesh, { name }, { name: "istio_requests_total", labels: plain, value: 1 });
      }
    });
  });
}
