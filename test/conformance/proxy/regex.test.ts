/**
 * With V8's linear engine switched on, as the proxy does at start, plain patterns run in V8: they
 * must mean what RE2 means and stay linear. A process of its own, because V8's flags are its own.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import v8 from "node:v8";

import fc from "fast-check";
import { RE2JS } from "re2js";

import { compileRegex } from "../../../src/proxy/engine/regex.ts";
import { slowElsewhere } from "../../support/slow-patterns.ts";

v8.setFlagsFromString("--enable-experimental-regexp-engine");
v8.setFlagsFromString("--enable-experimental-regexp-engine-on-excessive-backtracks");

test("this V8 has the linear engine", () => {
  assert.equal(new RegExp("a", ["l"].join("")).flags, "l");
});

test("compileRegex() agrees with RE2 on patterns that V8 runs", () => {
  const atom = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "\\d", "\\.", "-", "(a|b)", "(?:ab)");
  const repeat = fc.constantFrom("", "*", "+", "?", "{2}", "{1,3}", "*?");
  const pattern = fc
    .array(fc.tuple(atom, repeat), { minLength: 1, maxLength: 5 })
    .map((parts) => parts.flat().join(""));
  const text = fc.string({
    unit: fc.constantFrom("a", "b", "1", ".", "\n", "\r", "-"),
    maxLength: 8,
  });
  fc.assert(
    fc.property(pattern, text, (regex, value) => {
      const expected = RE2JS.compile(regex).matcher(value).matches();
      assert.equal(compileRegex({ regex }, "regex").matches(value), expected, `${regex} ${value}`);
    }),
    { numRuns: 2000 },
  );
});

test("compileRegex() stays linear where backtracking would explode", () => {
  for (const [regex, text, expected] of slowElsewhere) {
    const before = process.cpuUsage();
    assert.equal(compileRegex({ regex }, "regex").matches(text), expected, regex);
    const tookMs = process.cpuUsage(before).user / 1000;
    assert.ok(tookMs < 2000, `${regex} took ${Math.round(tookMs)} ms`);
  }
});
