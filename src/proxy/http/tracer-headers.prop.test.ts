import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { childSpanId, readB3, readB3Decision } from "../../telemetry/b3.ts";
import { formatSw8, parseSw8 } from "../../telemetry/skywalking.ts";
import { upstreamSpanId } from "../../telemetry/trace-context.ts";
import { MsgpackWriter } from "../../wire/msgpack-writer.ts";
import { readMsgpack } from "../../../test/support/msgpack-reader.ts";
import { readDatadog } from "./datadog-tracing.ts";

const digits = (length: number): fc.Arbitrary<string> =>
  fc
    .array(fc.constantFrom(..."0123456789abcdef".split("")), {
      minLength: length,
      maxLength: length,
    })
    .map((all) => all.join(""))
    .filter((text) => !/^0+$/.test(text));
const spanId = digits(16);
const traceId = fc.oneof(digits(16), digits(32));
/** Nearly right: what senders get wrong. */
const nearly = fc
  .tuple(traceId, spanId, fc.constantFrom("", "-1", "-d", "-2", "-1-", "-x", "-1-12"), fc.nat(70))
  .map(([trace, span, rest, cut]) => `${trace}-${span}${rest}`.slice(cut % 3 === 0 ? cut : 0));
const anything = fc.oneof(fc.string(), fc.string({ unit: "binary" }), nearly);
const headersOf = (values: Readonly<Record<string, string>>) => (name: string) => values[name];

test("readB3() takes what it is told, or nothing, and never throws", () => {
  fc.assert(
    fc.property(anything, anything, anything, (b3, trace, span) => {
      const multi = headersOf({ "x-b3-traceid": trace, "x-b3-spanid": span, "x-b3-sampled": b3 });
      for (const header of [headersOf({ b3 }), multi]) {
        const read = readB3(header);
        assert.ok([true, false, undefined].includes(readB3Decision(header)));
        if (typeof read === "string") continue;
        assert.match(read.traceId, /^(?:[0-9a-f]{16}){1,2}$/);
        assert.match(read.spanId, /^[0-9a-f]{16}$/);
        assert.match(read.parentSpanId, /^(?:[0-9a-f]{16})?$/);
      }
    }),
  );
});

test("readB3() reads both forms alike", () => {
  fc.assert(
    fc.property(traceId, spanId, spanId, (trace, span, parent) => {
      const single = headersOf({ b3: `${trace}-${span}-1-${parent}` });
      const multi = headersOf({
        "x-b3-traceid": trace,
        "x-b3-spanid": span,
        "x-b3-parentspanid": parent,
        "x-b3-sampled": "1",
      });
      assert.deepEqual(readB3(single), readB3(multi));
      assert.equal(readB3Decision(single), readB3Decision(multi));
    }),
  );
});

test("childSpanId() is another id, and not the one that a caller's proxy made the same way", () => {
  fc.assert(
    fc.property(spanId, (id) => {
      const child = childSpanId(id);
      assert.match(child, /^[0-9a-f]{16}$/);
      assert.notEqual(child, id);
      assert.doesNotMatch(child, /^0+$/);
      assert.notEqual(upstreamSpanId(id), id);
    }),
  );
});

test("parseSw8() reads what formatSw8() writes, and never throws", () => {
  const text = fc.string({ minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(text, text, fc.nat(999), text, (trace, segment, span, rest) => {
      const reference = {
        traceId: trace,
        segmentId: segment,
        spanId: span,
        service: rest,
        instance: rest,
        endpoint: rest,
        address: rest,
      };
      const read = parseSw8(formatSw8(reference));
      assert.deepEqual(read, reference);
    }),
  );
  fc.assert(fc.property(anything, (value) => void parseSw8(value)));
});

test("readDatadog() reads 64 bits, or nothing, and never throws", () => {
  fc.assert(
    fc.property(fc.bigInt(1n, 2n ** 64n - 1n), fc.bigInt(0n, 2n ** 64n - 1n), (trace, span) => {
      const read = readDatadog(
        headersOf({ "x-datadog-trace-id": String(trace), "x-datadog-parent-id": String(span) }),
      );
      assert.equal(BigInt(`0x${read?.traceId}`), trace);
      assert.equal(BigInt(`0x${read?.spanId}`), span);
    }),
  );
  fc.assert(
    fc.property(anything, anything, anything, (trace, span, tags) => {
      const read = readDatadog(
        headersOf({
          "x-datadog-trace-id": trace,
          "x-datadog-parent-id": span,
          "x-datadog-tags": tags,
          "x-datadog-sampling-priority": tags,
        }),
      );
      if (read !== undefined) assert.match(read.traceId, /^[0-9a-f]{32}$/);
    }),
  );
  const tooMuch = { "x-datadog-trace-id": String(2n ** 64n), "x-datadog-parent-id": "1" };
  assert.equal(readDatadog(headersOf(tooMuch)), undefined);
});

test("MsgpackWriter writes what a reader reads", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string(), fc.bigInt(0n, 2n ** 64n - 1n), fc.double()), {
        maxLength: 40,
      }),
      fc.nat(70_000),
      (rows, length) => {
        const writer = new MsgpackWriter();
        writer.array(rows.length + 1);
        writer.text("ä".repeat(length));
        for (const [text, number, double] of rows) {
          writer.map(3);
          writer.text("text");
          writer.text(text);
          writer.text("number");
          writer.uint64(number);
          writer.text("double");
          writer.float64(double);
        }
        const read = readMsgpack(writer.memory.subarray(0, writer.length));
        const expected = rows.map(([text, number, double]) => ({
          text: Buffer.from(text).toString("utf8"),
          number,
          double,
        }));
        assert.deepEqual(read, ["ä".repeat(length), ...expected]);
      },
    ),
    { numRuns: 30 },
  );
});
