// What the traffic suite's servers do: HTTP as the query asks, and a small protocol over TCP. Each
// remembers what it saw of a request, by the query's `key`.
import { createHash } from "node:crypto";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";

import { filler } from "./traffic-markers.ts";

const name = process.env.HOSTNAME;
const requests = new Map();

export function seen(key) {
  return requests.get(key) ?? [];
}

function remember(key, entry) {
  requests.set(key, [...seen(key), entry]);
}

/** By the query's `hold`: answers that wait for `release()`; undefined once they need not. */
const held = new Map();

export function release(hold) {
  const waiting = held.get(hold) ?? [];
  held.set(hold, undefined);
  for (const respondNow of waiting) respondNow();
  return {};
}

function whenReleased(hold, respondNow) {
  if (hold === null || (held.has(hold) && held.get(hold) === undefined)) respondNow();
  else held.set(hold, [...(held.get(hold) ?? []), respondNow]);
}

export function serveHttp() {
  const server = createHttpServer({ keepAliveTimeout: 60_000 });
  server.on("request", (request, response) => answer(request, response));
  server.on("checkContinue", (request, response) => {
    const refused = new URL(request.url, "http://x").searchParams.has("refuse");
    if (!refused) response.writeContinue();
    answer(request, response);
  });
  server.on("upgrade", (request, socket, head) => upgrade(request, socket, head));
  server.listen(Number(process.env.PORT), process.env.HOST);
}

function answer(request, response) {
  const { searchParams: query } = new URL(request.url, "http://x");
  const key = query.get("key") ?? "";
  const { method, url, headers } = request;
  const earlier = seen(key).length;
  remember(key, { method, url, headers });
  if (query.has("reset")) {
    request.socket.destroy();
    return;
  }
  if (query.has("refuse")) {
    response.writeHead(417, { connection: "close" }).end();
    return;
  }
  const hash = createHash("sha256");
  let bytes = 0;
  request.on("data", (chunk) => {
    bytes += chunk.length;
    hash.update(chunk);
  });
  request.on("end", () => {
    const told = {
      from: name,
      method,
      url,
      headers,
      bytes,
      sha256: hash.digest("hex"),
      trailers: request.trailers,
    };
    const respondNow = () => respond(query, earlier, response, told);
    setTimeout(() => whenReleased(query.get("hold"), respondNow), Number(query.get("wait") ?? 0));
  });
}

function respond(query, earlier, response, told) {
  const mustFail = earlier < Number(query.get("fail") ?? 0) || query.get("failing") === name;
  const status = mustFail ? 503 : Number(query.get("status") ?? 200);
  response.setHeader("x-from", name);
  const marker = told.headers["x-marker"];
  if (marker !== undefined) response.setHeader("x-marker", marker);
  if (status === 204 || status === 304) {
    response.setHeader("etag", '"one"');
    response.writeHead(status).end();
    return;
  }
  const size = query.get("size");
  if (query.has("trailers")) {
    response.writeHead(status, { trailer: "x-sum" });
    response.write("one,");
    response.addTrailers({ "x-sum": "3" });
    setTimeout(() => response.end("two"), 5);
    return;
  }
  const body = size === null ? JSON.stringify(told) : Buffer.alloc(Number(size), filler);
  response.writeHead(status, { "content-length": Buffer.byteLength(body) }).end(body);
}

// Echoes every byte after the handshake: frames are nothing a mesh looks into.
function upgrade(request, socket, head) {
  const key = request.headers["sec-websocket-key"];
  socket.on("error", () => socket.destroy());
  if (request.headers.upgrade !== "websocket" || key === undefined) {
    socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  const { searchParams: query } = new URL(request.url, "http://x");
  remember(query.get("key") ?? "", { method: "GET", url: request.url, headers: request.headers });
  if (query.has("decline")) {
    socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nx-from: ${name}\r\n\r\nno`);
    return;
  }
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept.digest("base64")}\r\nx-from: ${name}\r\n\r\n`,
  );
  socket.write(head);
  socket.pipe(socket);
}

// Greets first. `echo`: sends back what comes, ` bye` after its end. `down N`: sends N bytes and
// ends. `up KEY`: counts what comes and says so after its end. `close KEY`: ends at once, goes on
// reading, and remembers how much came.
export function serveTcp() {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.write("220 ready\n");
    let line = "";
    const onLine = (chunk) => {
      line += chunk.toString("latin1");
      const end = line.indexOf("\n");
      if (end < 0) return;
      socket.off("data", onLine);
      const [command, argument] = line.slice(0, end).split(" ");
      const rest = Buffer.from(line.slice(end + 1), "latin1");
      tcpCommands[command]?.(socket, rest, argument);
    };
    socket.on("data", onLine);
    socket.on("error", () => socket.destroy());
  });
  server.listen(Number(process.env.PORT), process.env.HOST);
}

const tcpCommands = {
  echo(socket, rest) {
    socket.write(rest);
    socket.pipe(socket, { end: false });
    socket.on("end", () => socket.end(" bye"));
  },
  down(socket, _rest, argument) {
    const block = Buffer.alloc(65_536, filler);
    let left = Number(argument);
    const more = () => {
      while (left > 0) {
        const size = Math.min(left, block.length);
        left -= size;
        if (!socket.write(block.subarray(0, size))) return socket.once("drain", more);
      }
      socket.end();
    };
    more();
  },
  up(socket, rest) {
    let bytes = rest.length;
    socket.on("data", (chunk) => (bytes += chunk.length));
    socket.on("end", () => socket.end(`${bytes} bytes`));
  },
  close(socket, rest, key) {
    let bytes = rest.length;
    socket.end("closed");
    socket.on("data", (chunk) => (bytes += chunk.length));
    socket.on("end", () => remember(key, { bytes }));
  },
};
