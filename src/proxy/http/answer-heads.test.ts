/** Heads of answers that a cluster lets be large: how much of them there may be at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import type { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import type { HeadLimits } from "../../wire/http1-head.ts";
import { compileHttp2Settings } from "../http2/settings.ts";

const mebibyte = 1024 * 1024;
const get = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const large: HeadLimits = { headBytesMax: 8 * mebibyte, fieldsMax: 2500 };
const piece = "x".repeat(64 * 1024);
const refusedSeries = /^heddle_answer_heads_refused_total (\d+)$/m;

function refused(mesh: HttpHarness): number {
  return Number(refusedSeries.exec(mesh.metrics.expose())?.[1] ?? 0);
}

/** A request whose answer has so much of a head, and not yet its end. */
function begin(mesh: HttpHarness, bytes: number): readonly [ScriptedChannel, ScriptedChannel] {
  const client = mesh.connect();
  const dials = mesh.upstreams.length;
  client.send(get);
  if (mesh.upstreams.length > dials) mesh.upstream();
  const asked = mesh.upstreams.find((upstream) => upstream.channel.take() !== "");
  assert.ok(asked !== undefined);
  const { channel } = asked;
  channel.send("HTTP/1.1 200 OK\r\nx-long: ");
  for (let sent = 0; sent < bytes; sent += piece.length) channel.send(piece);
  return [client, channel];
}

test("AnswerHeads: large heads that are under way share a bound, and come free with their answers", () => {
  const mesh = new HttpHarness({ headLimits: large });
  const clients: (readonly [ScriptedChannel, ScriptedChannel])[] = [];
  // Memory doubles: each of them has 8 MiB.
  while (clients.length < 30 && refused(mesh) === 0) clients.push(begin(mesh, 5 * mebibyte));
  assert.equal(refused(mesh), 1);
  assert.equal(clients.length, 8);
  assert.match(clients.at(-1)?.[0].take() ?? "", /^HTTP\/1\.1 502/);
  assert.equal(clients.at(-1)?.[1].isClosed, true);
  for (const [client, endpoint] of clients.slice(0, -1)) {
    endpoint.send("\r\ncontent-length: 0\r\n\r\n");
    assert.match(client.take(), /^HTTP\/1\.1 200/);
  }
  // Connections that rest hold nothing of them.
  for (let count = 0; count < 7; count++) begin(mesh, 5 * mebibyte);
  assert.equal(refused(mesh), 1);
});

test("AnswerHeads: trailers count, and connections that break give back what they held", () => {
  const mesh = new HttpHarness({ headLimits: large });
  for (let round = 0; round < 10; round++) {
    const client = mesh.connect();
    client.send(get);
    const endpoint = mesh.upstream();
    endpoint.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-long: ");
    for (let sent = 0; sent < 5 * mebibyte; sent += piece.length) endpoint.send(piece);
    endpoint.close();
    assert.equal(refused(mesh), 0);
  }
  const endpoints: ScriptedChannel[] = [];
  while (endpoints.length < 30 && refused(mesh) === 0) {
    mesh.connect().send(get);
    const endpoint = mesh.upstream();
    endpoints.push(endpoint);
    endpoint.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-long: ");
    for (let sent = 0; sent < 5 * mebibyte; sent += piece.length) endpoint.send(piece);
  }
  assert.equal(endpoints.length, 8);
});

function frame(type: number, flags: number, stream: number, payload: string): string {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return head.toString("latin1") + payload;
}

test("AnswerHeads: a few bytes of HPACK that stand for megabytes are bounded, too", () => {
  const counters = { add: () => {}, value: 0 };
  const mesh = new HttpHarness({
    http2: {
      when: "always",
      settings: {
        ...compileHttp2Settings(undefined, { limits: large, resetsMalformed: true, drainMs: 0 }),
        maxConcurrentStreams: 1,
      },
      counters: {
        connections: counters,
        resetsReceived: counters,
        resetsSent: counters,
        keepaliveTimeouts: counters,
        goAways: counters,
        onError: () => {},
      },
    },
  });
  // One field of 4,000 bytes goes into the table, and is named 1,900 times.
  const field = "\x40\x01a\x7f\xa1\x1e" + "x".repeat(4000);
  const block = `\x88${field}${"\xbe".repeat(1900)}`;
  const answers: string[] = [];
  while (answers.length < 30 && refused(mesh) === 0) {
    const client = mesh.connect();
    client.send(get);
    const endpoint = mesh.upstream();
    endpoint.send(frame(4, 0, 0, "") + frame(1, 4, 1, block));
    answers.push(client.take().slice(0, 12));
  }
  assert.equal(refused(mesh), 1);
  assert.equal(answers.length, 8);
  assert.equal(answers.at(-1), "HTTP/1.1 502");
  assert.ok(answers.slice(0, -1).every((answer) => answer === "HTTP/1.1 200"));
});
