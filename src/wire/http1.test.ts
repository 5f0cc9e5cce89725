import assert from "node:assert/strict";
import { test } from "node:test";

import { exchanges } from "../../test/conformance/http1/exchanges.ts";
import { probes } from "../../test/conformance/http1/probes.ts";
import { BodyReader, bodyStep } from "./http1-body.ts";
import { frameRequest, frameResponse } from "./http1-framing.ts";
import { defaultHeadLimits, Http1Head } from "./http1-head.ts";
import { feedHead } from "./http1-parser.ts";
import { dropForbiddenTrailers, Http1Writer } from "./http1-writer.ts";

/** What a reader makes of bytes given in pieces of `step`. */
function read(text: string, step: number, kind: "request" | "response" = "request"): Reading {
  const bytes = Buffer.from(text, "latin1");
  const head = new Http1Head();
  head.reset(kind);
  const body = new BodyReader(defaultHeadLimits);
  let isBody = false;
  let content = "";
  for (let from = 0; from < bytes.length; from += step) {
    const chunk = bytes.subarray(from, from + step);
    let at = 0;
    if (!isBody) {
      at = feedHead(head, chunk, 0, defaultHeadLimits);
      const error =
        head.error ??
        (head.isComplete
          ? kind === "request"
            ? frameRequest(head)
            : frameResponse(head, false)
          : undefined);
      if (error !== undefined) return { error, content };
      if (!head.isComplete) continue;
      isBody = true;
      body.start(head.bodyKind, head.bodyLength);
    }
    for (;;) {
      const found = body.next(chunk, at);
      at = body.position;
      if (found === bodyStep.error) return { error: "body", content };
      if (found === bodyStep.end) return { error: undefined, content };
      if (found === bodyStep.more) break;
      content += chunk.toString("latin1", body.dataStart, body.dataEnd);
    }
  }
  return { error: "incomplete", content };
}

interface Reading {
  readonly error: string | undefined;
  readonly content: string;
}

/** Long ones only differ by length. */
const short = probes.filter(({ bytes }) => bytes.length < 500);

test("feedHead() and BodyReader see the same, however the bytes are split", () => {
  for (const { id, bytes } of short) {
    const whole = read(bytes, bytes.length);
    for (const step of [1, 2, 3, 7]) {
      assert.deepEqual(read(bytes, step), whole, `${id} in pieces of ${step}`);
    }
  }
});

test("frameRequest() refuses what must be refused", () => {
  /** Decided by the connection manager: forms of the target, versions, upgrades. */
  const later =
    /^(COMP-ASTERISK|ABSOLUTE-|AUTHORITY-|RELATIVE-|COMP-HTTP10-NO-HOST|MAL-H2|COMP-UPGRADE|UPGRADE-|COMP-METHOD-CONNECT|CONNECT-)/;
  const decidedLater = new Set(exchanges);
  for (const probe of probes) {
    const { id, bytes, expect } = probe;
    if (later.test(id) || decidedLater.has(probe)) continue;
    const { error } = read(bytes, bytes.length);
    const isServed = expect.includes(200);
    if (isServed) assert.equal(error, undefined, id);
    else assert.notEqual(error, undefined, id);
  }
});

test("frameResponse() refuses an answer whose end is in doubt", () => {
  const check = (fields: string, error: string | undefined): void => {
    const { error: found } = read(`HTTP/1.1 200 OK\r\n${fields}\r\n\r\n`, 1000, "response");
    assert.equal(found, error, fields);
  };
  check("Content-Length: 0", undefined);
  check("Content-Length: 1\r\nContent-Length: 1", "content-length");
  check("Content-Length: 1\r\nTransfer-Encoding: chunked", "content-length-and-chunked");
  check("Transfer-Encoding: gzip", "transfer-encoding-unknown");
  check("X : 1", "syntax");
  assert.equal(read("HTTP/1.1 20 OK\r\n\r\n", 1000, "response").error, "syntax");
  assert.equal(read("HTTP/2 200 OK\r\n\r\n", 1000, "response").error, "version");
});

test("frameRequest() takes away what belongs to one hop, and nothing that decides", () => {
  const head = new Http1Head();
  head.reset("request");
  const lines = [
    "GET / HTTP/1.1",
    "Host: a",
    "Connection: close, X-Hop, X-Forwarded-Client-Cert, Authorization",
    "X-Hop: 1",
    "X-Forwarded-Client-Cert: Hash=1",
    "Authorization: secret",
    "Keep-Alive: 5",
    "TE: gzip",
  ];
  feedHead(head, Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), 0, defaultHeadLimits);
  assert.equal(frameRequest(head), undefined);
  assert.equal(head.isKeepAlive, false);
  const writer = new Http1Writer();
  writer.fields(head);
  assert.equal(
    writer.take().toString(),
    "host: a\r\nx-forwarded-client-cert: Hash=1\r\nauthorization: secret\r\n",
  );
});

test("frameRequest() and frameResponse() look for so many nominated fields, and no more", () => {
  const check = (count: number, fields: readonly string[], expected: string | undefined): void => {
    const names = Array.from({ length: count }, (_, i) => `x-${i}`).join(", ");
    const lines = [...fields, `Connection: ${names}`].join("\r\n");
    const request = read(`GET / HTTP/1.1\r\nHost: a\r\n${lines}\r\n\r\n`, 100_000);
    assert.equal(request.error, expected, `${count} beside ${fields.join()}`);
  };
  check(9, [], undefined);
  check(10, [], "connection-header");
  check(5000, [], "connection-header");
  check(8, ["Connection: close"], undefined);
  check(9, ["Connection: close"], "connection-header");
  check(5, ["Connection: a,,,,,b", "Connection: c, d"], undefined);
  check(6, ["Connection: a,,,,,b", "Connection: c, d"], "connection-header");
  const answer = (count: number): string =>
    `HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: ${"a,".repeat(count)}\r\n\r\n`;
  assert.equal(read(answer(99), 1000, "response").error, undefined);
  assert.equal(read(answer(100), 1000, "response").error, "connection-header");
});

test("frameRequest() refuses who would not have told where a request comes from", () => {
  const connection = "Connection: X-Forwarded-For\r\n";
  const request = read(`GET / HTTP/1.1\r\nHost: a\r\n${connection}\r\n`, 1000);
  assert.equal(request.error, "connection-header");
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${connection}\r\n`;
  assert.equal(read(answer, 1000, "response").error, undefined);
});

test("names that a peer has thought of are kept by nobody", (t) => {
  const set = t.mock.method(Map.prototype, "set");
  const head = new Http1Head();
  head.reset("request");
  const text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-strange\r\nX-Strange: 1\r\n\r\n";
  feedHead(head, Buffer.from(text), 0, defaultHeadLimits);
  assert.equal(frameRequest(head), undefined);
  assert.equal(head.dropName("x-long".padEnd(65, "-")), false);
  assert.deepEqual(
    set.mock.calls.map(({ arguments: [key] }) => key),
    [],
  );
  assert.equal(head.dropName("x-ours"), false);
  assert.equal(set.mock.calls.length, 1);
});

test("frameRequest() closes when any field of Connection says so, whatever the others say", () => {
  const check = (expected: boolean, ...fields: readonly string[]): void => {
    const head = new Http1Head();
    head.reset("request");
    const text = ["GET / HTTP/1.1", "Host: a", ...fields].join("\r\n");
    feedHead(head, Buffer.from(`${text}\r\n\r\n`, "latin1"), 0, defaultHeadLimits);
    assert.equal(frameRequest(head), undefined);
    assert.equal(head.isKeepAlive, expected, fields.join());
  };
  check(false, "Connection: close", "Connection: keep-alive");
  check(false, "Connection: keep-alive", "Connection: close");
  check(false, "Connection: connection", "Connection: close");
  check(false, "Connection: x, close\t");
  check(true, "Connection: close\xa0");
});

test("frameRequest() looks once at blanks in Connection, however many", () => {
  const blanks = " ".repeat(58_000);
  const head = new Http1Head();
  head.reset("request");
  const text = `GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x${blanks}y\r\n\r\n`;
  feedHead(head, Buffer.from(text), 0, defaultHeadLimits);
  const before = process.cpuUsage();
  assert.equal(frameRequest(head), undefined);
  const tookMs = process.cpuUsage(before).user / 1000;
  assert.equal(head.isKeepAlive, false);
  assert.ok(tookMs < 200, `${tookMs} ms`); // a second and more with a regular expression
});

test("frameRequest() refuses an expectation that nobody knows beside one that is known", () => {
  const fields = "Host: a\r\nExpect: 100-continue\r\nExpect: x";
  assert.equal(read(`GET / HTTP/1.1\r\n${fields}\r\n\r\n`, 1000).error, "expectation");
});

test("Http1Writer writes the field that ends a message in one form, whatever form it came in", () => {
  const written = (field: string): string => {
    const head = new Http1Head();
    head.reset("request");
    const text = `POST / HTTP/1.1\r\nHost: a\r\nA:\t1 \r\n${field}\r\nB:2\r\n\r\n`;
    feedHead(head, Buffer.from(text), 0, defaultHeadLimits);
    assert.equal(frameRequest(head), undefined, field);
    const writer = new Http1Writer();
    writer.fields(head);
    return writer.take().toString();
  };
  for (const value of ["5", " 5", "\t5", "  5", " 5 ", " 5\t"]) {
    assert.equal(
      written(`Content-Length:${value}`),
      "host: a\r\na:\t1 \r\ncontent-length: 5\r\nb:2\r\n",
    );
  }
  assert.match(written("Transfer-Encoding:\tCHUNKED "), /\r\ntransfer-encoding: CHUNKED\r\nb:2/);
});

test("Http1Head joins repeated fields and forgets dropped ones", () => {
  const head = new Http1Head();
  head.reset("request");
  const text = "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY:\t2 \r\nx: 3\r\n\r\nrest";
  assert.equal(feedHead(head, Buffer.from(text), 0, defaultHeadLimits), text.length - 4);
  assert.equal(head.joined("x"), "1,3");
  assert.equal(head.joined("y"), "2");
  assert.equal(head.joined("z"), undefined);
  assert.equal(head.dropName("x"), true);
  assert.equal(head.joined("x"), undefined);
});

test("feedHead() keeps to its limits", () => {
  const limits = { headBytesMax: 100, fieldsMax: 2 };
  const feed = (text: string): Http1Head => {
    const head = new Http1Head();
    head.reset("request");
    feedHead(head, Buffer.from(text), 0, limits);
    return head;
  };
  assert.equal(feed("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n").isComplete, true);
  assert.equal(feed("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n").error, "too-many-fields");
  assert.equal(feed(`GET / HTTP/1.1\r\nA: ${"1".repeat(100)}`).error, "head-too-large");
  assert.equal(feed("A".repeat(200)).error, "invalid-method");
  const sized = (bytes: number): string => `GET / HTTP/1.1\r\nA: ${"1".repeat(bytes - 23)}\r\n\r\n`;
  assert.equal(feed(sized(100)).isComplete, true);
  assert.equal(feed(sized(101)).isComplete, false);
  assert.equal(feed(sized(101)).error, "head-too-large");
});

test("BodyReader keeps trailers apart and bounds extensions", () => {
  const body = new BodyReader(defaultHeadLimits);
  body.start("chunked", 0);
  const bytes = Buffer.from("1\r\nx\r\n0\r\nContent-Length: 5\r\nX-Sum: 1\r\n\r\nnext");
  assert.equal(body.next(bytes, 0), bodyStep.content);
  assert.equal(body.next(bytes, body.position), bodyStep.end);
  assert.equal(body.position, bytes.length - 4);
  const { trailers } = body;
  assert.ok(trailers !== undefined);
  dropForbiddenTrailers(trailers);
  assert.equal(trailers.joined("content-length"), undefined);
  assert.equal(trailers.joined("x-sum"), "1");
  body.start("chunked", 0);
  assert.equal(body.next(Buffer.from(`1;${"a".repeat(5000)}\r\n`), 0), bodyStep.error);
});

test("Http1Writer writes nothing that would end a line early", () => {
  const writer = new Http1Writer();
  writer.field("a", "1");
  writer.field("b", "2\r\nc: 3");
  writer.field("d", "\u0100");
  writer.chunk(Buffer.alloc(0), 0, 0);
  writer.chunk(Buffer.from("0123456789abcdefg"), 0, 17);
  writer.lastChunk(undefined);
  assert.equal(writer.take().toString(), "a: 1\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n");
});

test("Http1Writer keeps what it gave away when it grows", () => {
  const writer = new Http1Writer();
  writer.text("first");
  const first = writer.take();
  for (let round = 0; round < 40; round++) writer.bytes(Buffer.alloc(4096, 0x61), 0, 4096);
  assert.equal(writer.take().length, 40 * 4096);
  assert.equal(first.toString(), "first");
});
