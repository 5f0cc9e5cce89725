/**
 * Bodies of any length through a proxy, both ways, counted and chunked, while the proxy's memory is
 * watched: nothing is kept here but one block.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Writable } from "node:stream";

import { type ProxyProcess, startProxyProcess } from "./proxy-process.ts";

export type Framing = "counted" | "chunked";

const block = Buffer.alloc(256 * 1024, "0123456789abcdef");
const watchMs = 100;
/**
 * Beyond what the proxy held before: V8 lets about 64 MB of dead buffers stand before it collects them,
 * whatever the length of the body.
 */
const growthMax = 110e6;

/** Answers `GET /BYTES/FRAMING` with a body of that length, and everything else with the bytes it took. */
export async function startBodyServer(): Promise<{
  readonly server: Server;
  readonly port: number;
}> {
  const server = createServer({ requestTimeout: 0 }, (incoming, outgoing) => {
    void serve(incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server's address, once it listens on a port.
  return { server, port: (server.address() as AddressInfo).port };
}

async function serve(
  incoming: IncomingMessage,
  outgoing: Writable & { setHeader(name: string, value: number): unknown },
): Promise<void> {
  const [, bytes = "", framing] = (incoming.url ?? "").split("/");
  if (incoming.method !== "GET") {
    outgoing.end(String(await countOf(incoming)));
    return;
  }
  if (framing === "counted") outgoing.setHeader("content-length", Number(bytes));
  await send(outgoing, Number(bytes));
}

async function send(to: Writable, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= block.length) {
    const piece = left < block.length ? block.subarray(0, left) : block;
    if (!to.write(piece)) await once(to, "drain");
  }
  to.end();
}

async function countOf(from: IncomingMessage): Promise<number> {
  let count = 0;
  from.on("data", (chunk: Buffer) => (count += chunk.length));
  await once(from, "end");
  assert.ok(from.complete);
  return count;
}

async function upload(port: number, bytes: number, framing: Framing): Promise<number> {
  const headers = framing === "counted" ? { "content-length": bytes } : {};
  const asking = request({ port, host: "127.0.0.1", method: "POST", path: "/", headers });
  const answered = once(asking, "response");
  await send(asking, bytes);
  const [response]: IncomingMessage[] = await answered;
  assert.equal(response?.statusCode, 200);
  let text = "";
  for await (const chunk of response) text += String(chunk);
  return Number(text);
}

async function download(port: number, bytes: number, framing: Framing): Promise<number> {
  const asking = request({ port, host: "127.0.0.1", path: `/${bytes}/${framing}` });
  const answered = once(asking, "response");
  asking.end();
  const [response]: IncomingMessage[] = await answered;
  assert.equal(response?.statusCode, 200);
  assert.equal(response.headers["transfer-encoding"] === "chunked", framing === "chunked");
  return await countOf(response);
}

export interface StreamedBody {
  readonly io: "portable" | "epoll";
  readonly hasTls: boolean;
  readonly direction: "up" | "down";
  readonly framing: Framing;
}

/** Every combination. */
export const streamedBodies: readonly StreamedBody[] = (["portable", "epoll"] as const).flatMap(
  (io) =>
    [false, true].flatMap((hasTls) =>
      (["up", "down"] as const).flatMap((direction) =>
        (["counted", "chunked"] as const).map((framing) => ({ io, hasTls, direction, framing })),
      ),
    ),
);

export function nameOf({ io, hasTls, direction, framing }: StreamedBody): string {
  return `${io}, ${hasTls ? "two proxies with mutual TLS" : "plain"}, ${direction}, ${framing}`;
}

/** Fails where bytes are lost, or the proxy's memory grows with the body. Returns what to tell. */
export async function streamBody(
  body: StreamedBody,
  bytes: number,
  applicationPort: number,
): Promise<string> {
  const { io, hasTls } = body;
  const proxy = await startProxyProcess({
    io,
    hasTls,
    applicationPort,
    flags: ["--max-semi-space-size=2"],
  });
  try {
    const carry = body.direction === "up" ? upload : download;
    await carry(proxy.port, 8 * block.length, body.framing);
    const before = proxy.memory().anonymous;
    const watched = watch(proxy);
    const startMs = performance.now();
    const carried = await carry(proxy.port, bytes, body.framing);
    const seconds = (performance.now() - startMs) / 1000;
    const grown = watched.stop() - before;
    assert.equal(carried, bytes);
    assert.ok(grown < growthMax, `${megabytes(grown)} more than before, of ${megabytes(bytes)}`);
    return `${megabytes(bytes)} in ${seconds.toFixed(1)} s, at most ${megabytes(grown)} more memory`;
  } finally {
    await proxy.stop();
  }
}

function watch(proxy: ProxyProcess): { stop(): number } {
  let most = 0;
  const look = (): void => {
    most = Math.max(most, proxy.memory().anonymous);
  };
  const timer = setInterval(look, watchMs);
  return {
    stop() {
      look();
      clearInterval(timer);
      return most;
    },
  };
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
