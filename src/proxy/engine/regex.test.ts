import assert from "node:assert/strict";
import test from "node:test";

import { slowElsewhere } from "../../../test/support/slow-patterns.ts";
import { Refusal } from "./refusal.ts";
import { compileRegex, compileSearch } from "./regex.ts";

function matches(regex: string, text: string): boolean {
  return compileRegex({ regex }, "here").matches(text);
}

test("compileRegex() matches whole texts only", () => {
  assert.equal(matches("/v[0-9]+", "/v12"), true);
  assert.equal(matches("/v[0-9]+", "/v12/x"), false);
  assert.equal(matches("a|ab", "ab"), true);
  assert.equal(matches("", ""), true);
});

test("compileRegex() gives the dot, classes and end RE2's meaning", () => {
  assert.equal(matches(".", "\r"), true);
  assert.equal(matches(".", "\n"), false);
  assert.equal(matches("a$", "a\n"), false);
  assert.equal(matches("[[:alpha:]]+", "abc"), true);
  assert.equal(matches("\\s", "\v"), false);
  assert.equal(matches("(?i)abc", "ABC"), true);
  assert.equal(matches("[.]", "x"), false);
});

test("compileRegex() reads bytes beyond ASCII as UTF-8", () => {
  const eAcute = "\u00c3\u00a9";
  assert.equal(matches("caf.", `caf${eAcute}`), true);
  assert.equal(matches("caf..", `caf${eAcute}`), false);
});

test("compileRegex() refuses what RE2 refuses, with the field", () => {
  for (const regex of ["(", "(?=a)", "(a)\\1", "a{1001}", "a**"]) {
    assert.throws(() => matches(regex, ""), { code: "xds.refused", message: /^here: / }, regex);
  }
  assert.throws(() => matches("a".repeat(5000), ""), { code: "xds.refused" });
});

/** What PCRE, Java or JavaScript know and RE2 does not, with the words that say so. */
const unsupported: readonly (readonly [regex: string, named: string])[] = [
  ["a(?=b)", "(?="],
  ["a(?!b)", "(?!"],
  ["(?<=a)b", "(?<=a)b"],
  ["(?<!a)b", "(?<!a)b"],
  ["(a)\\1", "\\1"],
  ["(?P<n>a)(?P=n)", "(?P"],
  ["(?>a)", "(?>"],
  ["a++", "++"],
  ["a*+", "*+"],
  ["(?(1)a|b)", "(?("],
  ["(?R)", "(?R"],
  ["(?#note)", "(?#"],
  ["(?x)a b", "(?x"],
  ["\\Z", "\\Z"],
  ["\\G", "\\G"],
  ["\\K", "\\K"],
  ["\\R", "\\R"],
  ["\\X", "\\X"],
  ["\\C", "\\C"],
  ["\\h", "\\h"],
  ["\\u0041", "\\u"],
  ["\\cA", "\\c"],
  ["\\p{Foo}", "\\p{Foo}"],
  ["[[:foo:]]", "[:foo:]"],
  ["[b-a]", "b-a"],
  ["a{2,1}", "{2,1}"],
  ["(a{1000}){1000}", "{1000}"],
  ["(a?){1000}a{1000}", "5002 instructions"],
];

test("compileRegex() refuses by name what RE2 does not know", () => {
  for (const [regex, named] of unsupported) {
    const { message } = assertRefused(() => compileRegex({ regex }, "here"));
    assert.ok(message.includes(named), `${regex}: ${message}`);
    assert.doesNotMatch(message, /Exception/);
  }
});

function assertRefused(make: () => unknown): Error {
  try {
    make();
  } catch (thrown) {
    assert.ok(thrown instanceof Refusal);
    return thrown;
  }
  return assert.fail("it was not refused");
}

test("compileRegex() takes linear time on patterns that backtracking engines choke on", () => {
  // Milliseconds here, ages of the universe there.
  for (const [regex, text, expected] of slowElsewhere) {
    const before = process.cpuUsage();
    assert.equal(matches(regex, text), expected, regex);
    const tookMs = process.cpuUsage(before).user / 1000;
    assert.ok(tookMs < 2000, `${regex} took ${Math.round(tookMs)} ms`);
  }
});

test("compileSearch() finds anywhere", () => {
  assert.equal(compileSearch("upstream_rq", "filter")("envoy_cluster_upstream_rq_total"), true);
  assert.equal(compileSearch("^upstream", "filter")("envoy_cluster_upstream"), false);
});
