/** A server of gRPC that does what the path says, without a library, and writes down what it was asked. */
import http2 from "node:http2";
import type { AddressInfo } from "node:net";

export interface Seen {
  readonly path: string;
  readonly fields: http2.IncomingHttpHeaders;
  /** Messages of the caller. */
  messages: number;
  /** RST_STREAM's code, once the stream is closed. */
  closedWith: number | undefined;
}

export interface ScriptedServer {
  readonly port: number;
  /** Requests, by `x-case`. */
  readonly seen: ReadonlyMap<string, Seen[]>;
  close(): void;
}

/** One message of `length` bytes, uncompressed. */
export function message(length: number): Buffer {
  const bytes = Buffer.alloc(5 + length, 0x6d);
  bytes[0] = 0;
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

const type = "application/grpc";

/**
 * `/status/N`: the status in the head, without a body; with `x-fail: K` the first K requests of a case
 * only, then a message and status 0. `/late/N`: head, message, trailers. `/headers/N`: head, then trailers.
 * `/reset/before/CODE`, `/reset/head`, `/reset/message`. `/echo`: each piece back, status 0 when the caller has ended. `/hang`.
 * `/plain/STATUS/BYTES`: text that is none of gRPC's. `/messages/COUNT/BYTES`: so many, then status 0. `/web`: gRPC-Web.
 */
export async function startScriptedServer(): Promise<ScriptedServer> {
  const seen = new Map<string, Seen[]>();
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => {});
  });
  server.on("stream", (stream: http2.ServerHttp2Stream, fields: http2.IncomingHttpHeaders) => {
    const path = fields[":path"] ?? "";
    const entry: Seen = { path, fields, messages: 0, closedWith: undefined };
    const name = String(fields["x-case"] ?? "");
    const earlier = seen.get(name) ?? [];
    seen.set(name, [...earlier, entry]);
    stream.on("error", () => {});
    stream.on("close", () => (entry.closedWith = stream.rstCode));
    let bytes = 0;
    stream.on("data", (chunk: Buffer) => {
      // All messages of these tests have 10 bytes.
      bytes += chunk.length;
      entry.messages = Math.ceil(bytes / 15);
      if (path === "/echo") stream.write(chunk);
    });
    answer(stream, path, earlier.length < Number(fields["x-fail"] ?? Infinity));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close: () => {
      server.close();
      for (const session of sessions) session.destroy();
    },
  };
}

function answer(stream: http2.ServerHttp2Stream, path: string, fails: boolean): void {
  const [, kind = "", first = "", second = ""] = path.replace(/\?.*/, "").split("/");
  const head = { ":status": 200, "content-type": type };
  const end = (status: string): void => {
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status }));
    stream.end();
  };
  switch (kind) {
    case "status":
      if (fails) {
        const trailers = { "grpc-status": first, "grpc-message": "as asked" };
        return stream.respond({ ...head, ...trailers }, { endStream: true });
      }
      stream.respond(head, { waitForTrailers: true });
      stream.write(message(10));
      return end("0");
    case "late":
      stream.respond(head, { waitForTrailers: true });
      stream.write(message(10));
      return end(first);
    case "headers":
      stream.respond(head, { waitForTrailers: true });
      return end(first);
    case "reset": {
      if (first === "before") return stream.close(Number(second));
      stream.respond(head);
      if (first === "message") stream.write(message(10));
      // `close()` would end the answer well before.
      return void setTimeout(() => stream.destroy(new Error("as asked")), 50);
    }
    case "plain":
      stream.respond({ ":status": Number(first), "content-type": "text/plain" });
      return void stream.end("no, ~100 % ü ".repeat(1000).slice(0, Number(second)));
    case "messages":
      stream.respond(head, { waitForTrailers: true });
      for (let sent = 0; sent < Number(first); sent++) stream.write(message(Number(second)));
      return end("0");
    case "web":
      stream.respond({ ":status": 200, "content-type": "application/grpc-web+proto; a=b" });
      return void stream.end(message(10));
    case "echo":
      stream.respond(head, { waitForTrailers: true });
      return void stream.on("end", () => end("0"));
    default:
    // `/hang`.
  }
}
