/** The table of open streams beside a map of the language. */
import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { Http1Head } from "./http1-head.ts";
import { Http2Stream, type StreamOwner } from "./http2-stream.ts";
import { StreamTable } from "./http2-stream-table.ts";

const owner: StreamOwner = {
  head: new Http1Head(),
  trailers: new Http1Head(),
  onOpened: () => {},
  onHead: () => {},
  onData: () => {},
  onEnd: () => {},
  onRoom: () => {},
  onMalformed: () => {},
  onReset: () => {},
  onClosed: () => {},
};

function streamOf(id: number): Http2Stream {
  const stream = new Http2Stream(owner);
  stream.begin(id, 0, 0);
  return stream;
}

test("StreamTable holds what a map holds, whatever comes and goes", () => {
  // Small numbers collide: with 8 places 1 and 17 want the same.
  const step = fc.record({ id: fc.integer({ min: 0, max: 60 }), isGone: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const table = new StreamTable();
      const map = new Map<number, Http2Stream>();
      for (const { id, isGone } of steps) {
        if (isGone) {
          table.delete(id);
          map.delete(id);
        } else if (!map.has(id)) {
          const stream = streamOf(id);
          table.add(stream);
          map.set(id, stream);
        }
        assert.equal(table.size, map.size);
        for (let one = 0; one <= 60; one++) assert.equal(table.get(one), map.get(one));
      }
      assert.deepEqual(new Set(table.values()), new Set(map.values()));
    }),
    { numRuns: 200 },
  );
});
