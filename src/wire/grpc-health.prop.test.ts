import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { decodeHealthResponse, encodeHealthRequest } from "./grpc-health.ts";

test("decodeHealthResponse() takes any bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const status = decodeHealthResponse(bytes);
      assert.ok(status === undefined || Number.isInteger(status));
    }),
  );
  assert.equal(decodeHealthResponse(Uint8Array.of()), 0);
  assert.equal(decodeHealthResponse(Uint8Array.of(8, 1)), 1);
  assert.equal(decodeHealthResponse(Uint8Array.of(18, 1, 97, 8, 2)), 2);
  for (const bytes of [[8], [0, 1], [18, 5, 97], [255]]) {
    assert.equal(decodeHealthResponse(Uint8Array.from(bytes)), undefined, bytes.join());
  }
  assert.deepEqual([...encodeHealthRequest("a")], [10, 1, 97]);
  assert.deepEqual([...encodeHealthRequest("")], []);
});
