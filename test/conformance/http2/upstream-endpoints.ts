/** Endpoints that speak HTTP/2: Node's server, and one that says the frames it is told. */
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";

import { frame, frameBytes } from "./raw-client.ts";

/** Called when a request's head has come, on a stream of a connection of its own. */
export type Script = (say: (bytes: Buffer) => void, streamId: number, socket: net.Socket) => void;

export interface Endpoints {
  readonly port: number;
  readonly rawPort: number;
  /** Of one that is asked by either protocol, without TLS; it says by which. */
  readonly eitherPort: number;
  /** What the second endpoint does from now on. */
  begin(script: Script | undefined): void;
  /** Requests since the last call: fields but those that differ by chance, then what came behind. */
  takeSeen(): readonly (readonly string[])[];
  close(): Promise<void>;
}

const accidental = /^(x-request-id|x-envoy-expected-rq-timeout-ms)$/;

export async function startEndpoints(): Promise<Endpoints> {
  const seen: string[][] = [];
  const server = http2.createServer({ settings: { maxConcurrentStreams: 100 } });
  server.on(
    "stream",
    (stream: http2.ServerHttp2Stream, headers, _flags, raw: readonly string[]) => {
      const entry: string[] = [];
      for (let at = 0; at < raw.length; at += 2) {
        const name = raw[at] ?? "";
        const value = (raw[at + 1] ?? "").replace(/^127\.0\.0\.1:\d+$/, "proxy");
        if (!accidental.test(name)) entry.push(`${name}: ${value}`);
      }
      seen.push(entry.toSorted());
      let bytes = 0;
      stream.on("error", () => {});
      stream.on("data", (chunk: Buffer) => (bytes += chunk.length));
      stream.on("trailers", (trailers) =>
        entry.push(`trailers ${JSON.stringify({ ...trailers })}`),
      );
      if (answerEarly(stream, headers[":path"] ?? "")) return;
      stream.on("end", () => {
        if (bytes > 0) entry.push(`content ${bytes}`);
        answer(stream, headers);
      });
    },
  );
  server.on("sessionError", () => {});
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const raw = startRaw();
  const either = startEither(server, seen);
  for (const one of [raw.server, either]) {
    await new Promise<void>((resolve) => one.listen(0, "127.0.0.1", resolve));
  }
  return {
    port: portOf(server),
    rawPort: portOf(raw.server),
    eitherPort: portOf(either),
    begin: (script) => (raw.script = script),
    takeSeen: () => seen.splice(0),
    close: async () => {
      for (const session of sessions) session.destroy();
      for (const socket of raw.sockets) socket.destroy();
      raw.server.close();
      either.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function portOf(server: { address(): ReturnType<net.Server["address"]> }): number {
  const address = server.address();
  return address !== null && typeof address !== "string" ? address.port : 0;
}

/** True where the answer does not wait for the request. */
function answerEarly(stream: http2.ServerHttp2Stream, path: string): boolean {
  if (path === "/early") {
    stream.respond({ ":status": 413 });
    stream.end("too much");
    return true;
  }
  if (path === "/early-reset") {
    stream.close(http2.constants.NGHTTP2_CANCEL);
    return true;
  }
  return false;
}

function answer(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
  switch (headers[":path"] ?? "") {
    case "/length":
      stream.respond({ ":status": 200, "content-length": 4 });
      return void stream.end("four");
    case "/empty":
      return stream.respond({ ":status": 200 }, { endStream: true });
    case "/empty-data":
      stream.respond({ ":status": 200 });
      return void stream.end();
    case "/no-content":
      return stream.respond({ ":status": 204 }, { endStream: true });
    case "/not-modified":
      return stream.respond({ ":status": 304, etag: '"a"' }, { endStream: true });
    case "/hints":
      stream.additionalHeaders({ ":status": 103, link: "</a>; rel=preload" });
      stream.respond({ ":status": 200 });
      return void stream.end("ok");
    case "/cookies":
      stream.respond({ ":status": 200, "set-cookie": ["a=1", "b=2"] });
      return void stream.end("ok");
    case "/large":
      stream.respond({ ":status": 200 });
      return void stream.end(Buffer.alloc(300_000, "x"));
    case "/trailers":
      stream.respond({ ":status": 200, "x-head": "1" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailer": "2" }));
      return void stream.end("body");
    case "/grpc":
      stream.respond(
        { ":status": 200, "content-type": "application/grpc" },
        { waitForTrailers: true },
      );
      stream.on("wantTrailers", () =>
        stream.sendTrailers({ "grpc-status": "5", "grpc-message": "gone" }),
      );
      return void stream.end(Buffer.from([0, 0, 0, 0, 1, 7]));
    case "/grpc-alone":
      return stream.respond(
        { ":status": 200, "content-type": "application/grpc", "grpc-status": "12" },
        { endStream: true },
      );
    case "/reset":
      return stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    case "/refused":
    case "/refused-retry":
      return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    case "/half":
      stream.respond({ ":status": 200 });
      stream.write("half");
      return void setTimeout(() => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), 50);
    default:
      stream.respond({ ":status": 200, "content-type": "text/plain" });
      stream.end("ok");
  }
}

/** What begins with the preface is `server`'s, the rest HTTP/1.1. */
function startEither(server: http2.Http2Server, seen: string[][]): net.Server {
  const plain = http.createServer((request, response) => {
    const { method, url, rawHeaders, httpVersion } = request;
    const names = rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
    seen.push([`${method} ${url} HTTP/${httpVersion}`, ...names.toSorted()]);
    response.end("plain");
  });
  return net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (chunk: Buffer) => {
      const isHttp2 = chunk.toString("latin1", 0, 3) === "PRI";
      socket.pause();
      socket.unshift(chunk);
      (isHttp2 ? server : plain).emit("connection", socket);
      socket.resume();
    });
  });
}

interface RawEndpoint {
  readonly server: net.Server;
  readonly sockets: Set<net.Socket>;
  script: Script | undefined;
}

/** Says its settings, and what it is told once HEADERS have come. */
function startRaw(): RawEndpoint {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.write(frameBytes(frame.settings, 0, 0, Buffer.alloc(0)));
    let bytes = Buffer.alloc(0);
    let at = 24;
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= at + 9) {
        const length = bytes.readUIntBE(at, 3);
        if (bytes.length < at + 9 + length) return;
        const type = bytes[at + 3];
        const streamId = bytes.readUInt32BE(at + 5);
        at += 9 + length;
        if (type === frame.headers)
          endpoint.script?.((said) => socket.write(said), streamId, socket);
      }
    });
  });
  const endpoint: RawEndpoint = { server, sockets, script: undefined };
  return endpoint;
}
