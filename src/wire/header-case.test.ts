import assert from "node:assert/strict";
import { test } from "node:test";

import { HeadSpelling, properCase } from "./header-case.ts";
import { frameRequest } from "./http1-framing.ts";
import { defaultHeadLimits, Http1Head } from "./http1-head.ts";
import { feedHead } from "./http1-parser.ts";

test("properCase() begins each word with a capital, as Envoy does", () => {
  assert.equal(properCase("x-request-id"), "X-Request-Id");
  assert.equal(properCase("x1a-2b_c.d"), "X1a-2b_C.D");
});

test("Http1Head.spelled() is the message's own spelling, wherever it is split", () => {
  const long = `X-Long: ${"a".repeat(5000)}`;
  const bytes = Buffer.from(`GET / HTTP/1.1\r\nHOST: a\r\n${long}\r\nx-TWO: 1\r\nX-two: 2\r\n\r\n`);
  for (const step of [1, 7, 100, bytes.length]) {
    const head = new Http1Head();
    head.spelling = new HeadSpelling("lower");
    head.reset("request");
    for (let at = 0; at < bytes.length; at += step) {
      feedHead(head, bytes.subarray(at, at + step), 0, defaultHeadLimits);
    }
    assert.equal(head.isComplete, true);
    assert.equal(frameRequest(head), undefined);
    assert.deepEqual(
      ["host", "x-long", "x-two", "x-none"].map((name) => head.spelled(name)),
      ["HOST", "X-Long", "x-TWO", undefined],
    );
    assert.equal(head.joined("x-two"), "1,2");
  }
});

test("a head that forgives a length beside a chunked body has none any more", () => {
  const head = new Http1Head();
  const text =
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
  for (const forgives of [false, true]) {
    head.forgivesLength = forgives;
    head.reset("request");
    feedHead(head, Buffer.from(text), 0, defaultHeadLimits);
    assert.equal(frameRequest(head), forgives ? undefined : "content-length-and-chunked");
  }
  assert.equal(head.bodyKind, "chunked");
  assert.equal(head.joined("content-length"), undefined);
});
