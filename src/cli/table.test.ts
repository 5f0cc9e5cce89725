import assert from "node:assert/strict";
import { test } from "node:test";

import { formatAge, formatTable } from "./table.ts";

test("formatTable() aligns columns to the widest cell and leaves no blanks at the end", () => {
  assert.equal(
    formatTable(
      ["NAME", "STATE"],
      [
        ["a", "ready"],
        ["longer-name", ""],
      ],
    ),
    "NAME          STATE\na             ready\nlonger-name",
  );
});

test("formatAge() counts in the largest unit that still says something", () => {
  assert.deepEqual([-5, 0, 119_999, 120_000, 7_199_000, 7_200_000, 172_800_000].map(formatAge), [
    "0s",
    "0s",
    "119s",
    "2m",
    "119m",
    "2h",
    "2d",
  ]);
});
