// A workload that keeps every byte it receives, before any parser, in FOLDER/INSTANCE.received, so
// that a test sees what reached it and what did not; answers HTTP, echoes WebSocket messages and raw
// TCP. Then runs what follows in this process. Usage:
//   echo-application.mjs "http:8080 tcp:9000" node exec-server.mjs FOLDER
import { createHash } from "node:crypto";
import { appendFileSync, chmodSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";

const [spec = "", node = process.execPath, next = "", folder = "."] = process.argv.slice(2);
const received = join(folder, `${process.env.HOSTNAME}.received`);
writeFileSync(received, "", { flag: "a" });
chmodSync(received, 0o666);

const keep = (socket) => {
  socket.on("data", (chunk) => appendFileSync(received, chunk));
  socket.on("error", () => socket.destroy());
};

function answer(request, response) {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString("latin1");
    const { method, url, headers } = request;
    const from = process.env.HOSTNAME;
    response.end(JSON.stringify({ from, method, url, headers, body }));
  });
}

/** WebSocket (RFC 6455) as far as short texts in one frame each need it. */
function echoMessages(request, socket) {
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.on("data", (frame) => {
    if ((frame[0] & 15) === 8) return void socket.end(Buffer.from([0x88, 0]));
    const length = frame[1] & 127;
    const payload = frame.subarray(6, 6 + length).map((byte, at) => byte ^ frame[2 + (at & 3)]);
    socket.write(Buffer.concat([Buffer.from([0x81, length]), payload]));
  });
}

const servers = {
  http: () => {
    const server = createHttpServer({ keepAliveTimeout: 60_000 }, answer);
    server.on("upgrade", echoMessages);
    return server.on("connection", keep);
  },
  tcp: () =>
    createServer((socket) => {
      keep(socket);
      socket.pipe(socket);
    }),
};

for (const [index, one] of spec.split(" ").filter(Boolean).entries()) {
  const [protocol, port] = one.split(":");
  // Explicit mode says by HOST and PORT where the first port really is.
  const isTold = index === 0 && process.env.HOST !== undefined;
  servers[protocol]().listen(isTold ? Number(process.env.PORT) : Number(port), process.env.HOST);
}

process.argv = [node, next, folder];
await import(next);
