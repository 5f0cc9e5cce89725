/**
 * Stands in for Heddle's own processes where a test is about what surrounds them: a control plane
 * that is ready at once, a sidecar that passes captured TCP on unchanged. `up` starts a mesh
 * of these, by the real thing, and prints what `heddle up -o json` prints; `supervise` is real.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer, Socket } from "node:net";
import { createSocket } from "node:dgram";
import { join } from "node:path";
import { parseArgs } from "node:util";

import type { SidecarOptions } from "../../../src/base/sidecar-options.ts";
import type { ControlOptions, WorkloadsMessage } from "../../../src/control/options.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { startMesh } from "../../../src/local/up.ts";
import { supervise } from "../../../src/local/supervise.ts";
import type { SupervisorOptions } from "../../../src/local/supervisor-options.ts";
import { originalDestinationOf } from "../../../src/net/socket-handle.ts";
import { openMarkedSocket } from "../../../src/net/sysio/socket-options.ts";
import { decodeProxyHeader } from "../../../src/wire/proxy-protocol.ts";

const [command = "", , file = ""] = process.argv.slice(2);
const text = command === "up" ? "" : readFileSync(file, "utf8");
switch (command) {
  case "up": {
    await up(process.argv.slice(3));
    break;
  }
  case "supervise": {
    const options: SupervisorOptions = JSON.parse(text);
    await supervise(options);
    break;
  }
  case "control":
    standInControl(JSON.parse(text));
    break;
  case "sidecar":
    standInSidecar(JSON.parse(text));
    break;
  default:
    throw new Error(`stand-in: unknown command ${command}`);
}

async function up(words: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...words],
    allowPositionals: true,
    options: {
      mode: { type: "string" },
      "state-dir": { type: "string" },
      output: { type: "string" },
      proxy: { type: "string" },
    },
  });
  const stateDir = values["state-dir"] ?? "";
  const { mode } = values;
  const mesh = await startMesh({
    directory: positionals[0] ?? ".",
    mode: mode === "namespaces" || mode === "explicit" ? mode : "auto",
    dataPlane: "heddle",
    stateDir,
    stateRoot: stateDir,
    uid: process.getuid?.() ?? 0,
    heddle: [process.execPath, ...process.execArgv, import.meta.filename],
    environment: { PATH: process.env["PATH"] ?? "" },
    logLevel: "info",
    logFormat: "text",
    clock: systemClock,
    onStep: (step) => console.log(JSON.stringify({ step })),
    onProblems: () => {},
  });
  let isStopping = false;
  const stop = (): void => {
    if (isStopping) return;
    isStopping = true;
    mesh.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, stop);
  void mesh.ended.then(async () => {
    await mesh.stop();
    process.exit(1);
  });
  const notReady = await mesh.ready;
  console.log(JSON.stringify({ ...mesh, ready: notReady.length === 0, notReady }));
  if (notReady.length > 0) {
    await mesh.allReady;
    console.log(JSON.stringify({ ...mesh, ready: true, notReady: [] }));
  }
}

/** Writes each snapshot it is told to `workloads.json`, and answers the console's port with it. */
function standInControl(options: ControlOptions): void {
  let last: WorkloadsMessage | undefined;
  mkdirSync(join(options.stateDir, "ca"), { recursive: true });
  writeFileSync(join(options.stateDir, "ca", "root-cert.pem"), "no certificate\n");
  process.on("message", (message: WorkloadsMessage) => {
    last = message;
    writeFileSync(join(options.stateDir, "workloads.json"), JSON.stringify(message));
    const { revision } = message.snapshot;
    process.send?.({ kind: "applied", revision, isEverywhere: true });
  });
  process.once("disconnect", () => process.exit(0));
  const server = createHttpServer((_, response) => response.end(JSON.stringify(last ?? {})));
  if ("fd" in options.console) server.listen({ fd: options.console.fd });
  else server.listen(options.console.port, options.console.address);
  process.send?.({ kind: "ready" });
}

function standInSidecar(options: SidecarOptions): void {
  const { ports } = options;
  const pass =
    (isInbound: boolean) =>
    (client: Socket): void => {
      const target = originalDestinationOf(client);
      client.on("error", () => client.destroy());
      if (target === undefined) return void client.destroy();
      const loopback = target.address.includes(":") ? "::1" : "127.0.0.1";
      const upstream = dialMarked(isInbound ? loopback : target.address, target.port, options);
      upstream.on("error", () => client.resetAndDestroy());
      client.pipe(upstream);
      upstream.pipe(client);
    };
  if (options.capture === "transparent") {
    createServer({ allowHalfOpen: true }, pass(false)).listen(ports.outbound, "::");
    createServer({ allowHalfOpen: true }, pass(true)).listen(ports.inbound, "::");
    answerDns(ports.dns);
  } else if (options.capture === "gateway" && options.socketMark !== undefined) {
    standInGateway();
  }
  createHttpServer((_, response) => response.end("ok")).listen(ports.ready, options.statusAddress);
}

function standInGateway(): void {
  // Where the edge brings what arrives at the gateway's one port of the host, with a PROXY header first.
  const relayPort = 61_000;
  const http = createHttpServer((request, response) => {
    const { remoteAddress } = request.socket;
    response.end(`gateway ${request.url} ${remoteAddress}`);
  });
  createServer((client) => {
    client.once("data", (first: Buffer) => {
      const header = decodeProxyHeader(first);
      if (header.kind !== "header" || header.addresses === undefined) return void client.destroy();
      const { address } = header.addresses.source;
      Object.defineProperty(client, "remoteAddress", { value: address });
      if (first.length > header.bytes) client.unshift(first.subarray(header.bytes));
      http.emit("connection", client);
    });
    client.on("error", () => client.destroy());
  }).listen(relayPort, "::");
}

function dialMarked(address: string, port: number, options: SidecarOptions): Socket {
  const marked = openMarkedSocket({
    destination: address,
    transport: "tcp",
    mark: options.socketMark,
    sourceAddress: undefined,
  });
  if ("refusal" in marked) throw new Error(marked.refusal);
  const socket = new Socket({ fd: marked.fd, allowHalfOpen: true });
  socket.connect({ host: address, port });
  return socket;
}

/** Every A question is answered with 203.0.113.53, so that a test sees who answered. */
function answerDns(port: number): void {
  // Bound to loopback itself: an answer from another address would not match the redirection.
  const socket = createSocket({ type: "udp4" });
  socket.on("message", (question, from) => {
    const nameEnd = question.indexOf(0, 12);
    const answer = Buffer.concat([
      question.subarray(0, nameEnd + 5), // header, name, type and class; no additional records
      Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 53]),
    ]);
    answer.writeUInt16BE(0x8180, 2);
    answer.writeUInt16BE(1, 6);
    answer.writeUInt32BE(0, 8);
    socket.send(answer, from.port, from.address);
  });
  socket.bind(port, "127.0.0.1");
}
