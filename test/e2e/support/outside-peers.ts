/** Servers outside of a mesh that tell what they were asked in: HTTP/2 without TLS alone, and a proxy for CONNECT. */
import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import {
  createServer as createHttp2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { connect, type AddressInfo } from "node:net";

export interface Http2Peer extends AsyncDisposable {
  readonly port: number;
  /** Pings that clients have sent. */
  pings(): number;
}

/** Answers `/together` when four requests are open, with the number of connections they came by. */
export async function http2Peer(): Promise<Http2Peer> {
  const sessions = new Set<ServerHttp2Session>();
  let pings = 0;
  const waiting = new Map<ServerHttp2Stream, unknown>();
  const server = createHttp2Server();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("ping", () => pings++).on("close", () => sessions.delete(session));
  });
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => {});
    if (headers[":path"] !== "/together") {
      stream.respond({ ":status": 200 });
      stream.end("HTTP/2");
      return;
    }
    waiting.set(stream, stream.session);
    if (waiting.size < 4) return;
    const together = new Set(waiting.values()).size;
    for (const each of waiting.keys()) {
      each.respond({ ":status": 200 });
      each.end(String(together));
    }
    waiting.clear();
  });
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  return {
    port: portOf(server.address()),
    pings: () => pings,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export interface ConnectPeer extends AsyncDisposable {
  readonly port: number;
  readonly targets: readonly string[];
}

/** A proxy that goes wherever it is asked to, and remembers. */
export async function connectPeer(address: string): Promise<ConnectPeer> {
  const targets: string[] = [];
  const server = createHttpServer();
  server.on("connect", ({ url = "" }, socket, head) => {
    targets.push(url);
    const onward = connect(Number(url.split(":").at(-1)), address);
    onward.on("error", () => socket.destroy());
    socket.on("error", () => onward.destroy());
    socket.write("HTTP/1.1 200 OK\r\n\r\n");
    onward.write(head);
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  return {
    port: portOf(server.address()),
    targets,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
}

function portOf(bound: AddressInfo | string | null): number {
  assert(bound !== null && typeof bound === "object");
  return bound.port;
}
