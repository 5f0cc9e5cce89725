/** What the HTTP/1 codec promises, and inputs to begin with. The first byte says what the rest is. */
import assert from "node:assert/strict";

import { Http1Head } from "../../src/wire/http1-head.ts";
import { Http1Writer } from "../../src/wire/http1-writer.ts";
import type { FuzzTarget } from "./fuzzer.ts";
import { type Reading, readReference, type StreamRules } from "./http1-reference.ts";
import { type CodecReading, StreamReader } from "./http1-stream.ts";
import type { Random } from "./random.ts";

const usual = { isHead: false, headBytesMax: 4000, fieldsMax: 40 };
const small = { isHead: false, headBytesMax: 120, fieldsMax: 4 };

const rulesByMark: Readonly<Record<string, StreamRules>> = {
  ">": { kind: "request", ...usual },
  "}": { kind: "request", ...small },
  "<": { kind: "response", ...usual },
  "{": { kind: "response", ...small },
  "(": { kind: "response", ...usual, isHead: true },
};
const fallback: StreamRules = { kind: "request", ...usual };

/** Used again and again, as connections do: what an earlier message left must not matter. */
const heads = [new Http1Head(), new Http1Head(), new Http1Head()] as const;

function check(input: Buffer, random: Random): void {
  const rules = rulesByMark[String.fromCharCode(input[0] ?? 0)] ?? fallback;
  const bytes = input.subarray(1);
  const before = Buffer.from(bytes);
  const whole = readWhole(bytes, rules);
  const reference = readReference(bytes.toString("latin1"), rules);
  if (reference.end !== "unspecified") compare(whole, reference, { bytes, rules });
  const pieces = readPieces(bytes, rules, random);
  assert.deepEqual(pieces.messages, whole.messages, "depends on how the bytes arrive");
  if (pieces.end !== whole.end) {
    assert.ok(mayComeLater(pieces, bytes) || mayComeLater(whole, bytes), "its end does, too");
  }
  checkWritten(whole, rules, reference);
  assert.ok(before.equals(bytes), "changes what it reads");
  if (random.below(8) === 0) checkFieldWriter(bytes.toString("latin1"));
}

function readWhole(bytes: Buffer, rules: StreamRules): CodecReading {
  const reader = new StreamReader(rules, heads[0]);
  // Not from the first byte on: what stands before is none of its business.
  reader.feed(Buffer.concat([Buffer.from("\r\n "), bytes]), 3);
  reader.finish();
  return reader.reading;
}

function readPieces(bytes: Buffer, rules: StreamRules, random: Random): CodecReading {
  const reader = new StreamReader(rules, heads[1]);
  const stepMax = random.pick([1, 2, 7, 40, 400]);
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + random.below(stepMax));
    // As from a socket: memory that is used again, with something else behind what was received.
    const length = bytes.copy(received, 0, at, end);
    tail.copy(received, length);
    if (!reader.feed(received.subarray(0, length), 0)) break;
    at = end;
  }
  return reader.reading;
}

const tail = Buffer.from("\r\n\r\n0\r\n");
const received = Buffer.alloc(1000);

interface Question {
  readonly bytes: Buffer;
  readonly rules: StreamRules;
}

function compare(whole: CodecReading, reference: Reading, { bytes, rules }: Question): void {
  assert.deepEqual(whole.messages, reference.messages, "differs from the reference");
  const isLate = reference.end === "malformed" && mayComeLater(whole, bytes);
  if (!isLate || whole.end !== "incomplete") {
    if (!isLate) assert.equal(whole.end, reference.end, "its end differs from the reference");
    return;
  }
  const ended = readWhole(Buffer.concat([bytes, Buffer.from("\r\n\r\n")]), rules);
  assert.equal(ended.end, "malformed", "what is malformed is never called so");
}

/** A long line is not read again for each piece of it: its error may show when the line ends. */
function mayComeLater({ end }: Reading, bytes: Buffer): boolean {
  if (end !== "incomplete" && end !== "head-too-large") return false;
  let longest = 0;
  for (let at = 0; at < bytes.length;) {
    const found = bytes.indexOf(10, at);
    const next = found < 0 ? bytes.length : found + 1;
    longest = Math.max(longest, next - at);
    at = next;
  }
  return longest > 256;
}

/** One message stays one message, and the same. */
function checkWritten(whole: CodecReading, rules: StreamRules, reference: Reading): void {
  const { written } = whole;
  if (written.length === 0) return;
  const reader = new StreamReader({ ...rules, headBytesMax: 8000, fieldsMax: 80 }, heads[2]);
  reader.feed(Buffer.concat(written), 0);
  const again = reader.reading.messages;
  const isHostless = reference.messages.some(({ minorVersion }) => minorVersion === 0);
  if (isHostless) return;
  const sent = whole.messages.slice(0, written.length);
  assert.equal(again.length, sent.length, "messages became more or fewer");
  for (const [index, message] of sent.entries()) {
    const { start, content, fields } = message;
    const expected = { start, content, fields: [...fields, "x-written: yes"] };
    const read = again[index];
    const readAgain = { start: read?.start, content: read?.content, fields: read?.fields };
    assert.deepEqual(readAgain, expected, "what was written is read otherwise");
    const trailers = message.trailers.filter((line) => !forbiddenInTrailers.test(line));
    assert.deepEqual(read?.trailers, trailers, "trailers are written otherwise");
  }
}

/** RFC 9110 section 6.5.1: framing, routing, authentication, content; and what proxies say of the client. */
const forbiddenInTrailers = new RegExp(
  `^(${[
    "content-(length|encoding|type|range)|transfer-encoding|trailer|host|expect|te|range",
    "connection|keep-alive|proxy-connection|upgrade|cookie|set-cookie",
    "(proxy-)?authorization|x-forwarded-(for|host|proto|client-cert)",
  ].join("|")}): `,
);

const lines = new Http1Writer();
const notInField = /[^\t\x20-\x7e\x80-\xff]/;

/** A value that would end its line early is not written at all. */
function checkFieldWriter(value: string): void {
  for (const text of [value, `${value}\u0141`, value.replaceAll(/[^\t\x20-\x7e]/g, "")]) {
    const isSound = !notInField.test(text);
    lines.field("x", text);
    const written = lines.take().toString("latin1");
    assert.equal(written, isSound ? `x: ${text}\r\n` : "", "a line is written wrongly");
  }
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

const seeds = [
  ">GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  ">GET /a?b HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close, x-a\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
  ">POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: b\r\n\r\n",
  '>POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c="d\\"e"\r\nhello\r\n0\r\nX-T: 1\r\n\r\n',
  ">POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
  ">GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
  ">GET / HTTP/1.0\r\n\r\n",
  "}GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n",
  "<HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 204 No Content\r\n\r\n",
  "<HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
  "<HTTP/1.1 200 OK\r\nKeep-Alive: 5\r\n\r\nuntil the close",
  "<HTTP/1.1 200 OK\r\nKeep-Alive: max=9, Timeout=15\r\nContent-Length: 0\r\n\r\n",
  "<HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nanything",
  "<HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
  "(HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
  "{HTTP/1.1 200 OK\r\nA: 1\r\n\r\n",
];

const words = [
  "Host: a\r\n|Content-Length: |Transfer-Encoding: chunked\r\n|Connection: |close|keep-alive|upgrade",
  "Upgrade: x\r\n|Expect: 100-continue\r\n|TE: trailers\r\n|Keep-Alive: timeout=5\r\n|Proxy-Connection: x\r\n",
  "Connection: content-length\r\n|GET |POST | HTTP/1.1\r\n| HTTP/1.0\r\n|HTTP/1.1 200 OK\r\n|\r\n|\n|\r",
  'HTTP/1.1 204 \r\n|HTTP/1.1 304 \r\n|HTTP/1.1 103\r\n|\r\n\r\n|0\r\n\r\n|5\r\nhello\r\n|1\r\nx\r\n|;a=b|;a="b"',
  ";a|Trailer: 1\r\n|: | |\t|, |content-length|transfer-encoding|host|connection|chunked|identity|gzip",
  "x-forwarded-for|cookie|[::1]|:80|http://a/|/|*|X-A: 1\r\n|x-a|Set-Cookie: a\r\n|10000|fffffffffffff",
].flatMap((line) => line.split("|"));

export const http1Target: FuzzTarget = {
  tokens: words.map(latin1),
  seeds: seeds.map(latin1),
  bytesMax: 5000,
  check,
};
