import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createEventReader } from "./event-stream.ts";

test("createEventReader() gives each event once, however the stream is cut", () => {
  const events = [
    { name: "status", text: '{"a":1}' },
    { name: "message", text: "two\nlines" },
    { name: "graph", text: "[]" },
  ];
  const stream =
    'retry: 1000\n\n: still here\n\nevent: status\ndata: {"a":1}\n\ndata: two\ndata: lines\n\nevent: graph\ndata: []\n\nevent: half\ndata: ';
  fc.assert(
    fc.property(fc.array(fc.nat(stream.length), { maxLength: 20 }), (cuts) => {
      const read = createEventReader();
      const ends = [0, ...cuts.toSorted((a, b) => a - b), stream.length];
      const seen = ends.slice(1).flatMap((end, index) => read(stream.slice(ends[index], end)));
      assert.deepEqual(seen, events);
    }),
  );
});
