import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { GrpcMessageCounter } from "./grpc-message-counter.ts";
import { grpcPrefix } from "./grpc.ts";

test("GrpcMessageCounter counts messages wherever the stream is cut", () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 8 });
  const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(lengths, cuts, (messages, steps) => {
      const bytes = Buffer.concat(
        messages.flatMap((length) => [grpcPrefix(length), Buffer.alloc(length, 1)]),
      );
      const counter = new GrpcMessageCounter();
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const end = Math.min(at + (steps[turn % steps.length] ?? 1), bytes.length);
        counter.read(bytes, at, end);
        at = end;
      }
      assert.equal(counter.count, messages.length);
    }),
  );
});

test("GrpcMessageCounter counts a message from its first byte on, and starts anew", () => {
  const counter = new GrpcMessageCounter();
  counter.read(Buffer.from([0]), 0, 1);
  assert.equal(counter.count, 1);
  counter.read(Buffer.from([255, 255, 255, 255, 7]), 0, 5);
  assert.equal(counter.count, 1);
  counter.reset();
  counter.read(Buffer.concat([grpcPrefix(0), grpcPrefix(1)]), 0, 10);
  assert.equal(counter.count, 2);
});
