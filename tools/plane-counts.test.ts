import assert from "node:assert/strict";
import { test } from "node:test";

import { PlaneCounter, planeCountsOf } from "./plane-counts.ts";

/** `NESTING NAME` for each result, in the order of node:test's events. */
function counterOf(lines: readonly string[]): PlaneCounter {
  const counter = new PlaneCounter();
  for (const line of lines) {
    const [nesting = "", ...words] = line.split(" ");
    counter.onResult({ file: "a.test.ts", nesting: Number(nesting), name: words.join(" ") });
  }
  return counter;
}

const suite = (plane: string, count: number): readonly string[] => [
  ...Array.from({ length: count }, (_, index) => `2 test ${index}`),
  "1 inner",
  "1 beside",
  `0 traffic, root, ${plane}`,
];

test("PlaneCounter counts tests by the data plane that a name around them says", () => {
  const { suites } = counterOf([...suite("heddle", 3), ...suite("envoy", 3), "0 of neither"]);
  assert.deepEqual(planeCountsOf([suites]), { heddle: 4, envoy: 4, alone: 0, unequal: [] });
});

test("PlaneCounter names suites that asked one data plane more", () => {
  const { suites } = counterOf([...suite("heddle", 3), ...suite("envoy", 2), "0 tap of envoy"]);
  assert.deepEqual(planeCountsOf([suites]), {
    heddle: 4,
    envoy: 3,
    alone: 1,
    unequal: ["traffic, root, *: 4 on heddle, 3 on envoy"],
  });
});

test("PlaneCounter takes a test's own name before that of its suite, and keeps files apart", () => {
  const counter = new PlaneCounter();
  const result = (file: string, nesting: number, name: string): void =>
    counter.onResult({ file, nesting, name });
  result("a", 1, "series of envoy");
  result("b", 1, "series");
  result("a", 0, "metrics, heddle and others");
  result("b", 0, "metrics, heddle");
  assert.equal(planeCountsOf([counter.suites]).alone, 2);
});

test("planeCountsOf() adds up a suite that has a file for each data plane", () => {
  const files = ["heddle", "envoy"].map((plane) => counterOf(suite(plane, 3)).suites);
  assert.deepEqual(planeCountsOf(files), { heddle: 4, envoy: 4, alone: 0, unequal: [] });
  assert.equal(planeCountsOf(files.slice(1)).alone, 4);
});
