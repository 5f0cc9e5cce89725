import assert from "node:assert/strict";
import { test } from "node:test";

import { newRequestId, newSpanId, newTraceId, newTraceparent } from "./random-ids.ts";
import {
  formatB3Single,
  formatTraceparent,
  parseTraceContext,
  upstreamSpanId,
} from "./trace-context.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const spanId = "00f067aa0ba902b7";

function parse(headers: Readonly<Record<string, string>>) {
  return parseTraceContext((name) => headers[name]);
}

test("parseTraceContext() reads W3C, B3 single and B3 multiple", () => {
  const cases: readonly [Record<string, string>, boolean | undefined][] = [
    [{ traceparent: `00-${traceId}-${spanId}-01` }, true],
    [{ traceparent: `00-${traceId}-${spanId}-00` }, false],
    [{ traceparent: `cc-${traceId}-${spanId}-01-what-the-future` }, true],
    [{ b3: `${traceId}-${spanId}-1` }, true],
    [{ b3: `${traceId}-${spanId}` }, undefined],
    [{ b3: `${traceId}-${spanId}-0-${spanId}` }, false],
    [{ "x-b3-traceid": traceId, "x-b3-spanid": spanId, "x-b3-sampled": "1" }, true],
    [{ "x-b3-traceid": traceId, "x-b3-spanid": spanId, "x-b3-flags": "1" }, true],
    [{ "x-b3-traceid": traceId, "x-b3-spanid": spanId }, undefined],
  ];
  for (const [headers, isSampled] of cases) {
    assert.deepEqual(parse(headers), { traceId, spanId, isSampled, tracestate: undefined });
  }
});

test("parseTraceContext() refuses what the specifications forbid", () => {
  const forbidden = [
    `ff-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-01-more`,
    `00-${"0".repeat(32)}-${spanId}-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${traceId}-${spanId}-1`,
    `00-${traceId}-${spanId}`,
    "",
  ];
  for (const traceparent of forbidden) assert.equal(parse({ traceparent }), undefined, traceparent);
  assert.equal(parse({ b3: "0" }), undefined);
  assert.equal(parse({ b3: `${traceId}-${spanId}-2` }), undefined);
});

test("parseTraceContext() pads 64-bit B3 trace ids", () => {
  assert.equal(
    parse({ b3: `a3ce929d0e0e4736-${spanId}-1` })?.traceId,
    "0000000000000000a3ce929d0e0e4736",
  );
});

test("parseTraceContext() keeps a valid tracestate and drops a malformed one", () => {
  const traceparent = `00-${traceId}-${spanId}-01`;
  assert.equal(parse({ traceparent, tracestate: "a=1, b@x=2" })?.tracestate, "a=1,b@x=2");
  assert.equal(parse({ traceparent, tracestate: "a=1,a=2" })?.tracestate, undefined);
  assert.equal(parse({ traceparent, tracestate: "A B" })?.tracestate, undefined);
});

test("formatTraceparent() and formatB3Single() are read back as they were", () => {
  const outgoing = { traceId: newTraceId(), spanId: newSpanId(), isSampled: true };
  assert.equal(parse({ traceparent: formatTraceparent(outgoing) })?.spanId, outgoing.spanId);
  assert.equal(parse({ b3: formatB3Single(outgoing) })?.traceId, outgoing.traceId);
});

test("newTraceparent() begins a trace of its own", () => {
  const texts = new Set(Array.from({ length: 1000 }, () => newTraceparent(true)));
  assert.equal(texts.size, 1000);
  for (const traceparent of texts) {
    assert.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    assert.equal(parse({ traceparent })?.isSampled, true);
  }
  assert.equal(parse({ traceparent: newTraceparent(false) })?.isSampled, false);
});

test("newRequestId() makes distinct version 4 UUIDs", () => {
  const ids = new Set(Array.from({ length: 1000 }, newRequestId));
  assert.equal(ids.size, 1000);
  for (const id of ids) {
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
});

test("upstreamSpanId() is another id, always the same, and never zero", () => {
  assert.equal(upstreamSpanId(spanId), upstreamSpanId(spanId));
  assert.notEqual(upstreamSpanId(spanId), spanId);
  assert.equal(upstreamSpanId("00000000ffffffff"), "0000000000000001");
  assert.match(upstreamSpanId("0000000000000001"), /^00000000fffffffe$/);
});

test("parseTraceContext() reads the usual form as it reads any other", () => {
  const usual = `00-${traceId}-${spanId}-01`;
  const units = ["0", "9", "a", "f", "g", "A", "F", "-", "/", ":", "`", "@", " ", "é", "\0"];
  for (const base of [usual, `00-${"0".repeat(32)}-${spanId}-01`]) {
    for (let at = 0; at < base.length; at++) {
      for (const unit of units) {
        const text = base.slice(0, at) + unit + base.slice(at + 1);
        // White space around it is none of the usual form.
        const other = parse({ traceparent: `\t${text}` });
        if (text.trim() === text) assert.deepEqual(parse({ traceparent: text }), other, text);
      }
    }
  }
});
