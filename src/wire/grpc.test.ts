import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import {
  decodeGrpcMessage,
  encodeGrpcMessage,
  formatGrpcTimeout,
  GrpcMessageReader,
  grpcPrefix,
  grpcStatusName,
  parseGrpcStatus,
  parseGrpcTimeout,
} from "./grpc.ts";

test("GrpcMessageReader.read() finds the same messages wherever the stream is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }),
      fc.array(fc.nat(60), { maxLength: 8 }),
      (messages, cuts) => {
        const stream = Buffer.concat(messages.flatMap((m) => [grpcPrefix(m.length), m]));
        const reader = new GrpcMessageReader(64);
        const found: Uint8Array[] = [];
        let start = 0;
        for (const cut of [...cuts, stream.length]) {
          const end = Math.min(start + cut, stream.length);
          const error = reader.read(stream.subarray(start, end), (m) => found.push(m));
          assert.equal(error, undefined);
          start = end;
        }
        assert.deepEqual(
          found.map((m) => [...m]),
          messages.map((m) => [...m]),
        );
        assert.equal(reader.isPartial, false);
      },
    ),
  );
});

test("GrpcMessageReader.read() refuses a long message before storing it", () => {
  const reader = new GrpcMessageReader(16);
  const error = reader.read(grpcPrefix(4_000_000_000), () => assert.fail("no message"));
  assert.deepEqual(error, { kind: "too-long", bytes: 4_000_000_000, bytesMax: 16 });
});

test("GrpcMessageReader.read() refuses compression", () => {
  const error = new GrpcMessageReader(16).read(new Uint8Array([1, 0, 0, 0, 0]), () => {});
  assert.deepEqual(error, { kind: "compressed" });
});

test("GrpcMessageReader.isPartial tells an unfinished message", () => {
  const reader = new GrpcMessageReader(16);
  reader.read(grpcPrefix(3), () => {});
  assert.equal(reader.isPartial, true);
});

test("encodeGrpcMessage() survives decodeGrpcMessage()", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const encoded = encodeGrpcMessage(text);
      assert.match(encoded, /^[\x20-\x7e]*$/);
      assert.equal(decodeGrpcMessage(encoded), text);
    }),
  );
});

test("decodeGrpcMessage() leaves a broken escape", () => {
  assert.equal(decodeGrpcMessage("100% of %4"), "100% of %4");
});

test("parseGrpcTimeout() reads the six units and nothing else", () => {
  const cases: readonly (readonly [string | undefined, number | undefined])[] = [
    ["2H", 7_200_000],
    ["3M", 180_000],
    ["4S", 4000],
    ["5m", 5],
    ["6000u", 6],
    ["123456789m", undefined],
    ["5", undefined],
    ["-5m", undefined],
    [undefined, undefined],
  ];
  for (const [text, ms] of cases) assert.equal(parseGrpcTimeout(text), ms);
});

test("formatGrpcTimeout() keeps to eight digits", () => {
  assert.equal(formatGrpcTimeout(0.4), "1m");
  assert.equal(formatGrpcTimeout(1500), "1500m");
  assert.equal(formatGrpcTimeout(200_000_000), "200000S");
});

test("parseGrpcStatus() makes unknown of what is no status", () => {
  assert.equal(parseGrpcStatus("14"), 14);
  assert.equal(parseGrpcStatus("17"), 2);
  assert.equal(parseGrpcStatus(undefined), 2);
  assert.equal(grpcStatusName(14), "unavailable");
});
