import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const spanId = "00f067aa0ba902b7";

/** Whether a request with these fields is sampled, and what the upstream is told. */
function trace(fields: readonly string[], percent: number): { isSampled: boolean; told: string } {
  const mesh = new HttpHarness({ manager: { tracing: { randomSampling: { value: percent } } } });
  const client = mesh.connect();
  client.send(`GET / HTTP/1.1\r\n${["host: shop", ...fields].join("\r\n")}\r\n\r\n`);
  const told = mesh.upstream().take();
  mesh.upstream().send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  return { isSampled: mesh.record?.isSampled ?? false, told };
}

test("traceRequest() keeps to a caller's decision, also to one without ids", () => {
  const no = [
    [`traceparent: 00-${traceId}-${spanId}-00`],
    [`b3: ${traceId}-${spanId}-0`],
    ["b3: 0"],
    ["x-b3-sampled: 0"],
    ["x-b3-sampled: false"],
    ["b3: 0", "traceparent: nonsense"],
  ];
  for (const fields of no) {
    const { isSampled, told } = trace(fields, 100);
    assert.equal(isSampled, false, fields.join());
    assert.match(told, /\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n/);
    assert.doesNotMatch(told, /\r\n(?:b3: (?:1|.*-1)|x-b3-sampled: 1)\r\n/);
  }
  const yes = [["b3: 1"], ["b3: d"], ["x-b3-sampled: 1"], ["x-b3-sampled: 0", "x-b3-flags: 1"]];
  for (const fields of yes) assert.equal(trace(fields, 100).isSampled, true, fields.join());
});

test("traceRequest() traces nothing that the shares do not let through, whatever a caller has decided", () => {
  for (const fields of [[`traceparent: 00-${traceId}-${spanId}-01`], ["b3: 1"]]) {
    const { isSampled, told } = trace(fields, 0);
    assert.equal(isSampled, false, fields.join());
    assert.match(told, /\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n/);
  }
});

test("traceRequest() decides where nobody has", () => {
  for (const fields of [[], ["b3: nonsense"], ["traceparent: nonsense"], ["x-b3-sampled: 2"]]) {
    assert.equal(trace(fields, 100).isSampled, true, fields.join());
    assert.equal(trace(fields, 0).isSampled, false, fields.join());
  }
});

test("traceRequest() hands a decision on in the words it came in", () => {
  assert.match(trace(["b3: 0"], 100).told, /\r\nb3: [0-9a-f]{32}-[0-9a-f]{16}-0\r\n/);
  const { told } = trace(["x-b3-sampled: 0"], 100);
  assert.match(told, /\r\nx-b3-sampled: 0\r\n/);
  assert.match(told, /\r\nx-b3-traceid: [0-9a-f]{32}\r\n/);
});
