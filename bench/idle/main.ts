/**
 * What an idle HTTP/2 connection costs in memory: opens so many to a proxy, each of which has agreed on
 * settings, and with `--ask` has asked once, and reads what the process holds beside its files (RssAnon)
 * before and after. In plaintext, or with `--tls` with mutual TLS. A connection gives up what it needs for
 * requests five seconds after the last: that is waited for, and V8 is made to collect what that leaves, as
 * a sidecar does each minute that it has little to do. `--asks N` asks so often on each.
 *
 *   node bench/idle/main.ts [--connections 2000] [--ask] [--asks 1] [--tls] [--io epoll]
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import tls from "node:tls";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { openBundle } from "../../src/cli/bundle.ts";
import { freePorts } from "../../src/local/place/free-ports.ts";
import { frameType, preface } from "../../src/wire/http2-frames.ts";
import { makeCertificate } from "../data-plane/certificate.ts";
import { fill } from "../data-plane/configurations.ts";

const { values } = parseArgs({
  options: {
    connections: { type: "string", default: "2000" },
    ask: { type: "boolean", default: false },
    asks: { type: "string", default: "1" },
    tls: { type: "boolean", default: false },
    io: { type: "string", default: "epoll" },
  },
});
const asks = values.ask ? Number(values.asks) : 0;
/** The listener with mutual TLS is the inbound one of a pair. */
const [outbound = 0, inbound = 0, inspected = 0] = await freePorts(3, {
  first: 24_000,
  last: 27_900,
});
const port = values.tls ? inbound : outbound;
const connections = Number(values.connections);
/** Before anything counts: code, pools and what grows by steps. */
const warmConnections = 200;
const restMs = 8000;

const folder = mkdtempSync(join(tmpdir(), "heddle-idle-"));
const application = http.createServer((_request, response) => response.end("answered"));
await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
const address = application.address();
const applicationPort = address !== null && typeof address !== "string" ? address.port : 0;
makeCertificate(folder);
const file = fill(values.tls ? "pair-h2.yaml" : "plain.yaml", folder, {
  FOLDER: folder,
  NAME: "idle",
  PORT: String(outbound),
  PEER: String(inbound),
  BACKEND: String(applicationPort),
});
const credentials = {
  cert: readFileSync(join(folder, "cert.pem")),
  key: readFileSync(join(folder, "key.pem")),
};
const inspect = `--inspect=127.0.0.1:${inspected}`;
const flags = ["--disable-warning=ExperimentalWarning", "--max-semi-space-size=2", inspect];
const { main } = await openBundle();
const options = ["proxy", "--config", file, "--log-level", "error", "--io", values.io];
const proxy = spawn(process.execPath, [...flags, main, ...options], {
  stdio: ["ignore", "inherit", "ignore"],
});
try {
  await measure();
} finally {
  proxy.kill();
  rmSync(folder, { recursive: true });
}
process.exit(0);

async function measure(): Promise<void> {
  await untilOpen();
  for (let at = 0; at < warmConnections; at++) await openIdle();
  const collect = await openCollector();
  const before = await settledKib(collect);
  for (let at = 0; at < connections; at++) await openIdle();
  const each = ((await settledKib(collect)) - before) / connections;
  console.log(`${each.toFixed(1)} KiB for each of ${connections} connections`);
}

async function settledKib(collect: () => Promise<void>): Promise<number> {
  await sleep(restMs);
  // What has finalizers goes with the second.
  await collect();
  await collect();
  await sleep(500);
  return anonymousKib();
}

/** Has V8 collect its garbage in the proxy. */
async function openCollector(): Promise<() => Promise<void>> {
  const found: unknown = await (await fetch(`http://127.0.0.1:${inspected}/json/list`)).json();
  const target: unknown = Array.isArray(found) ? found[0] : undefined;
  assert(typeof target === "object" && target !== null && "webSocketDebuggerUrl" in target);
  const socket = new WebSocket(String(target.webSocketDebuggerUrl));
  await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }));
  let id = 0;
  return async () => {
    const answered = new Promise((resolve) => {
      socket.addEventListener("message", resolve, { once: true });
    });
    socket.send(JSON.stringify({ id: ++id, method: "HeapProfiler.collectGarbage" }));
    await answered;
  };
}

function anonymousKib(): number {
  const status = readFileSync(`/proc/${proxy.pid}/status`, "utf8");
  return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? Number.NaN);
}

async function untilOpen(): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      (await connect()).destroy();
      return;
    } catch (error) {
      if (tries > 300) throw error;
      await sleep(100);
    }
  }
}

function connect(): Promise<net.Socket> {
  const options = { port, host: "127.0.0.1" };
  return new Promise((resolve, reject) => {
    const socket = values.tls
      ? tls.connect(
          { ...options, ...credentials, ALPNProtocols: ["h2"], rejectUnauthorized: false },
          () => resolve(socket),
        )
      : net.connect(options, () => resolve(socket));
    socket.once("error", reject);
  });
}

async function openIdle(): Promise<void> {
  const socket = await connect();
  let received = "";
  let onMore = (): void => {};
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
    onMore();
  });
  const until = (text: string): Promise<void> =>
    new Promise((resolve) => {
      onMore = () => {
        if (!received.includes(text)) return;
        received = "";
        resolve();
      };
      onMore();
    });
  socket.write(hello());
  // A number in its settings is below 256.
  await until("\0");
  for (let at = 0; at < asks; at++) {
    socket.write(request(at));
    await until("answered");
  }
}

function hello(): Buffer {
  const settings = [frame(frameType.settings, 0), frame(frameType.settings, 1)];
  return Buffer.concat([Buffer.from(preface), ...settings]);
}

/** GET, http, `/` from the fixed table; two fields that enter the other, and one that is new each time. */
function request(at: number): Buffer {
  const fields = [
    literal(":authority", "shop.test"),
    literal("user-agent", "idle/1.0"),
    literal("x-trace", `4bf92f3577b34da6a3ce929d0e0e47${at}`),
  ];
  const block = Buffer.concat([Buffer.from([0x82, 0x86, 0x84]), ...fields]);
  return frame(frameType.headers, 5, at * 2 + 1, block);
}

function frame(type: number, flag: number, streamId = 0, payload = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flag;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

function literal(name: string, value: string): Buffer {
  const text = (one: string): Buffer => Buffer.from(String.fromCharCode(one.length) + one);
  return Buffer.concat([Buffer.from([0x40]), text(name), text(value)]);
}
