/**
 * What an idle HTTP/2 connection costs in memory: opens so many to a proxy in plaintext, each of which
 * has agreed on settings, and with `--ask` has asked once, and reads what the process holds beside its
 * files (RssAnon) before and after.
 *
 *   node bench/idle/main.ts [--connections 2000] [--ask] [--io epoll] [--port 24510]
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { openBundle } from "../../src/cli/bundle.ts";
import { frameType, preface } from "../../src/wire/http2-frames.ts";

const { values } = parseArgs({
  options: {
    connections: { type: "string", default: "2000" },
    ask: { type: "boolean", default: false },
    io: { type: "string", default: "epoll" },
    port: { type: "string", default: "24510" },
  },
});
const port = Number(values.port);
const connections = Number(values.connections);
/** Before anything counts: code, pools and what grows by steps. */
const warmConnections = 200;

const folder = mkdtempSync(join(tmpdir(), "heddle-idle-"));
const application = http.createServer((_request, response) => response.end("answered"));
await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
const address = application.address();
const applicationPort = address !== null && typeof address !== "string" ? address.port : 0;
const file = join(folder, "plain.yaml");
const template = readFileSync(join(import.meta.dirname, "../data-plane/plain.yaml"), "utf8");
writeFileSync(
  file,
  template.replaceAll("__PORT__", values.port).replaceAll("__BACKEND__", String(applicationPort)),
);
const flags = ["--disable-warning=ExperimentalWarning", "--max-semi-space-size=2"];
const { main } = await openBundle();
const options = ["proxy", "--config", file, "--log-level", "error", "--io", values.io];
const proxy = spawn(process.execPath, [...flags, main, ...options], { stdio: "inherit" });
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
  await sleep(3000);
  const before = anonymousKib();
  for (let at = 0; at < connections; at++) await openIdle();
  await sleep(3000);
  const each = (anonymousKib() - before) / connections;
  console.log(`${each.toFixed(1)} KiB for each of ${connections} connections`);
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
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1", () => resolve(socket));
    socket.once("error", reject);
  });
}

async function openIdle(): Promise<void> {
  const socket = await connect();
  await new Promise<void>((resolve) => {
    let received = "";
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1");
      if (!values.ask || received.includes("answered")) resolve();
    });
    socket.write(hello());
  });
}

function hello(): Buffer {
  const parts = [Buffer.from(preface), frame(frameType.settings, 0), frame(frameType.settings, 1)];
  // GET, http, `/` from the fixed table; two fields that enter the other.
  const fields = [literal(":authority", "shop.test"), literal("user-agent", "idle/1.0")];
  const block = Buffer.concat([Buffer.from([0x82, 0x86, 0x84]), ...fields]);
  if (values.ask) parts.push(frame(frameType.headers, 5, 1, block));
  return Buffer.concat(parts);
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
