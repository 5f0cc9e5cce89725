import assert from "node:assert/strict";
import { test } from "node:test";

import { Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import type { FilterStream, HttpFilter } from "./filter.ts";
import { passRequestTrailers } from "./trailer-edits.ts";

test("passRequestTrailers() writes no line that a value would make of itself", () => {
  const bytes = Buffer.from("x-kept: 1\r\n\r\n");
  const trailers = new Http1Head();
  trailers.reset("trailers");
  feedHead(trailers, bytes, 0, { headBytesMax: 100, fieldsMax: 100 });
  for (const value of ["a\r\nx-forged: 1", "a\nb", "a\0b", "a\x7f", "\u010a"]) {
    const filter: HttpFilter = {
      name: "f",
      onRequest: () => "continue",
      onRequestTrailers: (_stream, headers) => headers.set("x-claim", value),
    };
    // Only the filter would ask for it.
    const stream = undefined as never as FilterStream;
    const passed = passRequestTrailers(stream, [filter], trailers);
    const names = Array.from({ length: passed.count }, (_, field) => passed.nameAt(field));
    assert.deepEqual(names, ["x-kept"], JSON.stringify(value));
  }
});
