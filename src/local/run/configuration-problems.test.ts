import assert from "node:assert/strict";
import { test } from "node:test";

import type { Problem } from "../../base/problem.ts";
import { ConfigurationProblems } from "./configuration-problems.ts";

function problem(file: string, line: number): Problem {
  const source = { file, line, column: 3 };
  const hint = "make them 100";
  return { code: "a.b", severity: "error", path: "spec", message: "too many", hint, source };
}

test("ConfigurationProblems tells what is new and what is mended, once and bounded", () => {
  const told: string[] = [];
  let isHeard = false;
  const onStep = (text: string): void => void told.push(text);
  const problems = new ConfigurationProblems({ isHeard: () => isHeard, onStep });
  const check = (now: readonly Problem[], expected: readonly string[]): void => {
    problems.follow(now);
    assert.deepEqual(told.splice(0), expected);
  };
  const text = (file: string): string => `${file}:7:3: error a.b: too many (spec); make them 100`;
  check([problem("a.yaml", 7)], []);
  isHeard = true;
  check([problem("a.yaml", 7)], []);
  check([problem("a.yaml", 8), problem("b.yaml", 7)], [text("b.yaml")]);
  check([problem("b.yaml", 7)], ["mended: a.yaml: a.b: too many"]);
  check([], ["mended: b.yaml: a.b: too many", "nothing is wrong with the configuration any more"]);
  const files = ["1", "2", "3", "4", "5", "6", "7"];
  check(
    files.map((file) => problem(file, 7)),
    [...files.slice(0, 5).map(text), "and 2 more; 'heddle status' shows all that is wrong"],
  );
});
