/**
 * What stands behind the proxy of a hot restart, as a process of its own: HTTP/1.1 that answers at once,
 * bodies that trickle, WebSockets and TCP that answer what comes, and a gRPC method that streams both ways.
 *
 * Prints its ports as a line of JSON; trickling bodies end when its standard input does.
 */
import { createHash } from "node:crypto";
import http from "node:http";
import http2 from "node:http2";
import { type AddressInfo, createServer, type Server } from "node:net";

export interface ApplicationPorts {
  readonly http: number;
  readonly grpc: number;
  readonly tcp: number;
}

const trickleMs = 100;
/** RFC 6455 section 1.3. */
const webSocketId = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const trickling = new Set<http.ServerResponse>();

const web = http.createServer((request, response) => {
  if (request.url !== "/trickle") return void response.end("ok");
  response.write("0\n");
  trickling.add(response);
  response.on("close", () => trickling.delete(response));
});
web.keepAliveTimeout = 60_000;
web.on("upgrade", (request, socket) => {
  const key = `${request.headers["sec-websocket-key"] ?? ""}${webSocketId}`;
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
  // A frame that comes has a mask of zeros, one that goes has none; each is a chunk on loopback.
  socket.on("data", (frame: Buffer) => {
    const text = frame.subarray(6);
    socket.write(Buffer.concat([Buffer.from([frame[0] ?? 0, text.length]), text]));
    if (((frame[0] ?? 0) & 0x0f) === 8) socket.end();
  });
  socket.on("error", () => {});
});

const grpc = http2.createServer();
grpc.on("stream", (stream: http2.ServerHttp2Stream) => {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.on("error", () => {});
  stream.pipe(stream);
});

const tcp = createServer((socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});

const ports: ApplicationPorts = {
  http: await listen(web),
  grpc: await listen(grpc),
  tcp: await listen(tcp),
};
process.stdout.write(`${JSON.stringify(ports)}\n`);

let ticks = 0;
const ticker = setInterval(() => {
  ticks++;
  for (const response of trickling) response.write(`${ticks}\n`);
}, trickleMs);
process.stdin.resume();
process.stdin.once("end", () => {
  clearInterval(ticker);
  for (const response of trickling) response.end("end\n");
});

function listen(server: Server | http2.Http2Server): Promise<number> {
  return new Promise((resolve) => {
    // A TCP server's address, once it listens on a port.
    server.listen(0, "127.0.0.1", 4096, () => resolve((server.address() as AddressInfo).port));
  });
}
