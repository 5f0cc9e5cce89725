import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { requestRecord } from "../../../test/support/request-record.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { ProtobufWriter } from "../../wire/protobuf-writer.ts";
import type { KeyValue } from "../../wire/gen/ts/opentelemetry/proto/common/v1/common.ts";
import { ScopeSpans, Span } from "../../wire/gen/ts/opentelemetry/proto/trace/v1/trace.ts";
import { writeSpan } from "./span-writer.ts";

/** What the generated codec reads of a record's span. */
function spanOf(record: RequestRecord): Span | undefined {
  const writer = new ProtobufWriter(1);
  writeSpan(writer, 2, record, { role: "server" });
  return ScopeSpans.decode(writer.memory.subarray(0, writer.length)).spans[0];
}

function attribute(key: string, value: string | number): KeyValue {
  const tagged = typeof value === "number" ? { intValue: BigInt(value) } : { stringValue: value };
  return { key, keyStrindex: 0, value: tagged };
}

const text = fc.oneof(
  fc.string({ maxLength: 300, unit: "binary" }),
  fc.string({ maxLength: 130 }),
  fc.integer({ min: 100, max: 20_000 }).map((length) => "x".repeat(length)),
);
const whole = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const ids = fc.stringMatching(/^[0-9a-f]{32}$/);

test("writeSpan() writes what the generated codec reads back", () => {
  fc.assert(
    fc.property(
      fc.record({
        method: text,
        authority: text,
        responseCodeDetails: text,
        requestId: text,
        upstreamCluster: text,
        bytesSent: whole,
        bytesReceived: whole,
        responseCode: fc.constantFrom(0, 200, 503),
        startMs: fc.integer({ min: 0, max: 4_000_000_000_000 }),
        durationMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
        traceId: ids,
      }),
      (fields) => {
        const spanId = fields.traceId.slice(16);
        const record = requestRecord({ ...fields, spanId, parentSpanId: "", path: "/a?b=c" });
        const startNs = BigInt(fields.startMs) * 1_000_000n;
        const isError = fields.responseCode !== 200;
        assert.deepEqual(
          spanOf(record),
          Span.fromPartial({
            traceId: Buffer.from(fields.traceId, "hex"),
            spanId: Buffer.from(spanId, "hex"),
            name: record.operation || `${fields.method} ${fields.authority}`,
            kind: 2,
            startTimeUnixNano: startNs,
            endTimeUnixNano: startNs + BigInt(Math.round(fields.durationMs * 1e6)),
            attributes: [
              attribute("http.request.method", fields.method),
              attribute("url.path", "/a"),
              attribute("server.address", fields.authority),
              attribute("network.protocol.version", "1.1"),
              attribute("http.response.status_code", fields.responseCode),
              attribute("client.address", record.downstreamRemoteAddress.address),
              attribute("envoy.upstream_cluster", fields.upstreamCluster),
              attribute("envoy.response_flags", "-"),
              attribute("http.request.header.x-request-id", fields.requestId),
              attribute("http.request.body.size", fields.bytesReceived),
              attribute("http.response.body.size", fields.bytesSent),
              attribute("network.peer.address", record.upstreamHost?.address ?? ""),
              attribute("network.peer.port", record.upstreamHost?.port ?? 0),
            ],
            status: isError ? { code: 2, message: fields.responseCodeDetails } : undefined,
          }),
        );
      },
    ),
    { numRuns: 200 },
  );
});
