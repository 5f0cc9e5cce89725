// Live prices over WebSocket (RFC 6455, framing written out: the feed sends short texts and reads
// little). One message per second and client: { prices: { sku: number } }.
import { createHash } from "node:crypto";

import { products } from "./products.mjs";
import { serve } from "./web.mjs";

const clientsMax = 1000;
const frameBytesMax = 4096;
const queuedBytesMax = 64 * 1024;
const clients = new Set();
const prices = new Map(products.map(({ sku, price }) => [sku, price]));

const server = serve({ "GET /now": () => ({ prices: Object.fromEntries(prices) }) });

server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"];
  const isWebSocket = request.headers.upgrade?.toLowerCase() === "websocket";
  if (!isWebSocket || key === undefined || clients.size >= clientsMax) {
    socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept.digest("base64")}\r\n\r\n`,
  );
  clients.add(socket);
  socket.on("error", () => socket.destroy());
  socket.on("close", () => clients.delete(socket));
  readFrames(socket);
  socket.write(message());
});

setInterval(() => {
  for (const [sku, price] of prices) {
    const base = products.find((product) => product.sku === sku)?.price ?? price;
    const next = price + (Math.random() - 0.5) * base * 0.04 + (base - price) * 0.1;
    prices.set(sku, Math.round(next * 100) / 100);
  }
  const frame = message();
  for (const socket of clients) {
    // Who does not read is let go, rather than remembered for.
    if (socket.writableLength > queuedBytesMax) socket.destroy();
    else socket.write(frame);
  }
}, 1000);

function message() {
  return frame(1, Buffer.from(JSON.stringify({ prices: Object.fromEntries(prices) })));
}

function frame(opcode, payload) {
  const head =
    payload.length < 126
      ? Buffer.from([0x80 | opcode, payload.length])
      : Buffer.from([0x80 | opcode, 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([head, payload]);
}

/** Answers ping and close; texts of clients are read and forgotten. */
function readFrames(socket) {
  let received = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
    for (;;) {
      if (received.length < 6) return;
      const opcode = received[0] & 15;
      const short = received[1] & 127;
      const length = short === 126 ? received.readUInt16BE(2) : short;
      const start = (short === 126 ? 4 : 2) + 4;
      if (short === 127 || length > frameBytesMax || (received[1] & 128) === 0) {
        socket.destroy();
        return;
      }
      if (received.length < start + length) return;
      const mask = received.subarray(start - 4, start);
      const payload = received.subarray(start, start + length).map((byte, i) => byte ^ mask[i & 3]);
      received = received.subarray(start + length);
      if (opcode === 9) socket.write(frame(10, payload));
      if (opcode === 8) {
        socket.end(frame(8, payload.subarray(0, 2)));
        return;
      }
    }
  });
}
