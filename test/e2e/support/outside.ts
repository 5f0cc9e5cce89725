/** The world around a mesh: servers of the host, and requests that come from it. */
import assert from "node:assert/strict";
import { createServer as createHttpServer, request } from "node:http";
import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";

import type { HttpAnswer } from "./traffic.ts";

export interface OutsideServer extends AsyncDisposable {
  /** An address of the host that is not loopback, so that the mesh can reach it. */
  readonly address: string;
  readonly port: number;
}

/** Answers every request with what it was asked for, as JSON. */
export async function outsideHttp(): Promise<OutsideServer> {
  const server = createHttpServer({ keepAliveTimeout: 60_000 }, (incoming, response) => {
    const { method, url, headers } = incoming;
    response.setHeader("x-from", "outside");
    response.end(JSON.stringify({ method, url, headers }));
  });
  return await listening(server);
}

/** Greets, and echoes what comes. */
export async function outsideTcp(): Promise<OutsideServer> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.write("220 outside\n");
    socket.pipe(socket);
  });
  return await listening(server);
}

async function listening(server: Server): Promise<OutsideServer> {
  const address = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find((one) => one.family === "IPv4" && !one.internal)?.address;
  assert(address !== undefined, "this machine has no address besides loopback");
  await new Promise<void>((resolve) => {
    server.listen(0, "0.0.0.0", resolve);
  });
  const bound = server.address();
  assert(bound !== null && typeof bound === "object");
  return {
    address,
    port: bound.port,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => {
        server.close(resolve);
        if ("closeAllConnections" in server && typeof server.closeAllConnections === "function") {
          server.closeAllConnections();
        }
      });
    },
  };
}

/** One request from the host, with a Host header, and if asked for an address, of its own. */
export async function requestOf(
  url: URL,
  headers: Readonly<Record<string, string>>,
  from: { readonly localAddress?: string } = {},
): Promise<HttpAnswer> {
  const startMs = performance.now();
  return await new Promise((resolve, reject) => {
    const sent = request(url, { headers, agent: false, ...from }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => {
        const fields = Object.entries(response.headers).map(
          ([name, value]) => [name, String(value)] as const,
        );
        resolve({
          status: response.statusCode ?? 0,
          headers: Object.fromEntries(fields),
          body,
          bytes: body.length,
          trailers: {},
          ms: performance.now() - startMs,
        });
      });
    });
    sent.on("error", reject).end();
  });
}
