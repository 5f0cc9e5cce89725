import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const requests = 400;
const pieceBytes = 64 * 1024;
const overflow = /^envoy_http2_outbound_content_overflow\{.*\} (\d+)$/m;

function frame(type: number, flags: number, ...[streamId, payload]: [number, Buffer]): string {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]).toString("latin1");
}

/** GET / of `a`, from the static table. */
const block = Buffer.from([0x82, 0x86, 0x84, 0x01, 0x01, 0x61]);
const window = (bytes: number): Buffer => {
  const entry = Buffer.from([0, 4, 0, 0, 0, 0]);
  entry.writeUInt32BE(bytes, 2);
  return entry;
};

/** RST_STREAM's codes by stream, and content by stream. */
function read(text: string) {
  const bytes = Buffer.from(text, "latin1");
  const resets = new Map<number, number>();
  const content = new Map<number, number>();
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    const id = bytes.readUInt32BE(at + 5);
    if (bytes[at + 3] === 3) resets.set(id, bytes.readUInt32BE(at + 9));
    if (bytes[at + 3] === 0) content.set(id, (content.get(id) ?? 0) + length);
    at += 9 + length;
  }
  return { resets, content };
}

function answerAll(streamWindow: number) {
  const limits = { connection: 1000, pending: 1000, request: 1000 };
  const mesh = new HttpHarness({ limits });
  const client = mesh.connect();
  client.send(preface + frame(4, 0, 0, window(streamWindow)));
  for (let at = 0; at < requests; at++) client.send(frame(1, 5, 1 + 2 * at, block));
  for (let at = 0; at < requests; at++) {
    const upstream = mesh.upstream(at);
    upstream.take();
    upstream.send(`HTTP/1.1 200 OK\r\ncontent-length: ${2 * pieceBytes}\r\n\r\n`);
    upstream.send("x".repeat(pieceBytes));
  }
  return { mesh, client, ...read(client.take()) };
}

for (const [name, streamWindow] of [
  ["no stream", 0],
  ["the connection", 2 ** 31 - 1],
] as const) {
  test(`ServerStream breaks answers off where 16 MiB wait for a client that gives ${name} a window`, () => {
    const { mesh, client, resets } = answerAll(streamWindow);
    // What fits: the pieces that 16 MiB hold, one more, and the connection's window.
    const kept = requests - resets.size;
    assert.ok(kept >= 256 && kept <= 259, `${kept} are kept`);
    assert.deepEqual(new Set(resets.values()), new Set([11]));
    assert.equal(Number(overflow.exec(mesh.metrics.expose())?.[1]), resets.size);
    const broken = mesh.log.filter(({ flags }) => flags === "OM");
    assert.equal(broken.length, resets.size);
    assert.equal(broken[0]?.details, "http2.unread_content_overflow");
    // Endpoints of what is kept wait; those of what is not are free of it.
    assert.equal(mesh.upstreams.filter(({ channel }) => channel.isClosed).length, resets.size);
    client.close();
    assert.equal(mesh.inUse.request, 0);
  });
}

test("ServerStream goes on with what is kept, when the client gives windows", () => {
  const { mesh, client, resets } = answerAll(0);
  const kept = Array.from({ length: requests }, (_, at) => 1 + 2 * at).filter(
    (id) => !resets.has(id),
  );
  const more = Buffer.alloc(4);
  more.writeUInt32BE(2 ** 25);
  client.send(frame(8, 0, 0, more) + kept.map((id) => frame(8, 0, id, more)).join(""));
  const { content } = read(client.take());
  assert.deepEqual(new Set(content.values()), new Set([pieceBytes]));
  assert.equal(content.size, kept.length);
  // There is place again.
  client.send(frame(1, 5, 2001, block));
  mesh.upstream().take();
  mesh.upstream().send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
  assert.equal(mesh.log.at(-1)?.flags, "");
});

test("ServerStream breaks answers off where 16 MiB of trailers wait behind content for a client", () => {
  const limits = { connection: 1000, pending: 1000, request: 1000 };
  const manager = { httpProtocolOptions: { enableTrailers: true } };
  const mesh = new HttpHarness({ limits, manager });
  const client = mesh.connect();
  client.send(preface + frame(4, 0, 0, window(0)));
  for (let at = 0; at < requests; at++) client.send(frame(1, 5, 1 + 2 * at, block));
  const trailerBytes = 50 * 1024;
  for (let at = 0; at < requests; at++) {
    const upstream = mesh.upstream(at);
    upstream.take();
    upstream.send("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n");
    upstream.send("1\r\nx\r\n0\r\n");
    upstream.send(`x-long: ${"x".repeat(trailerBytes)}\r\n\r\n`);
  }
  const { resets } = read(client.take());
  const kept = requests - resets.size;
  const fitting = Math.ceil((16 * 1024 * 1024) / trailerBytes);
  assert.ok(kept >= fitting - 1 && kept <= fitting + 1, `${kept} are kept`);
  assert.equal(Number(overflow.exec(mesh.metrics.expose())?.[1]), resets.size);
  client.close();
  // Nothing of it is counted any more.
  const other = mesh.connect();
  other.send(preface + frame(4, 0, 0, window(0)));
  for (let at = 0; at < requests; at++) {
    other.send(frame(1, 5, 1 + 2 * at, block));
    const upstream = mesh.upstream(requests + at);
    upstream.take();
    upstream.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx");
  }
  assert.equal(read(other.take()).resets.size, 0);
});
