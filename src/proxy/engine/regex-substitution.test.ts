import assert from "node:assert/strict";
import test from "node:test";

import { RE2JS } from "re2js";

import { compileSubstitution, tooCostly } from "./regex-substitution.ts";

test("compileSubstitution() fills groups in and replaces every match", () => {
  const check = (regex: string, substitution: string, text: string, expected: string): void => {
    const rewrite = compileSubstitution({ pattern: { regex }, substitution }, "here");
    assert.equal(rewrite(text), expected);
  };
  check(
    "^/service/([^/]+)(/.*)$",
    "\\2/instance/\\1",
    "/service/foo/v1/api",
    "/v1/api/instance/foo",
  );
  check("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz");
  check("(?i)/xxx/", "/yyy/$1/", "/aaa/XxX/bbb", "/aaa/yyy/$1/bbb");
  check("a", "[\\0\\\\]", "bab", "b[a\\]b");
});

test("compileSubstitution() refuses groups that do not exist", () => {
  assert.throws(
    () => compileSubstitution({ pattern: { regex: "(a)" }, substitution: "\\2" }, "here"),
    { code: "xds.refused", message: /group \\2/ },
  );
});

/** Beside re2js's own searches, which give an empty match behind another one, too; these have none. */
test("compileSubstitution() replaces what re2js finds", () => {
  const patterns = [
    "a",
    "a+b?",
    "(a)|(b)",
    "^/a",
    "b$",
    "^(/[^/]+)(/.*)?$",
    "\\bab\\b",
    "\\B./",
    "(?i)A(?P<rest>b*)",
    "(?m)^.",
    "(?s)a.*?b",
    "/+(.*/end)",
    "[\u00e9\u{1f600}]",
    "(?:abc|abd)x|/b",
  ];
  const texts = [
    "",
    "a",
    "ab/ab\nabb",
    "/a/b/end/a/end",
    "xaab b_ab",
    "/abdx/b/abcx",
    "\u00c3\u00a9a\u00f0\u009f\u0098\u0080b",
  ];
  for (const regex of patterns) {
    const rewrite = compileSubstitution({ pattern: { regex }, substitution: "<\\0>" }, "here");
    for (const text of texts) {
      const decoded = Buffer.from(text, "latin1").toString();
      const expected = RE2JS.compile(regex).matcher(decoded).replaceAll("<$&>");
      assert.equal(rewrite(text), expected, `${regex} in ${JSON.stringify(text)}`);
    }
  }
});

/** As RE2's `GlobalReplace` (its own tests have the second one). */
test("compileSubstitution() finds no empty match right behind another one", () => {
  for (const [regex, text, expected] of [
    ["x*", "axb", "-a-b-"],
    ["b*", "bbbbbb", "-"],
    ["b*", "aaa", "-a-a-a-"],
    ["", "\u00c3\u00a9", "-\u00e9-"],
  ] as const) {
    const rewrite = compileSubstitution({ pattern: { regex }, substitution: "-" }, "here");
    assert.equal(rewrite(text), expected, `${regex} in ${text}`);
  }
});

test("compileSubstitution() gives up where each of many searches looks far ahead", () => {
  for (const regex of [
    "/+(.*/end)?",
    "a(.*b)?",
    "x*y|/",
    "(?:(?:abc|abd)x.*y|/)",
    "/|.*z",
    "(/)(.*z)?",
  ]) {
    const rewrite = compileSubstitution({ pattern: { regex }, substitution: "" }, "here");
    const before = process.cpuUsage();
    // Of 28 KB, as a head may have: it took half a minute.
    for (const piece of ["/a", "x", "/abcx"]) {
      const text = piece.repeat(28_000 / piece.length);
      const result = rewrite(text);
      assert.ok(result === tooCostly || result.length <= text.length);
    }
    const tookMs = process.cpuUsage(before).user / 1000;
    assert.ok(tookMs < 1500, `${regex} took ${Math.round(tookMs)} ms`);
  }
  const rewrite = compileSubstitution(
    { pattern: { regex: "/+(.*/end)?" }, substitution: "_" },
    "here",
  );
  assert.equal(rewrite("/a".repeat(14_000)), tooCostly);
  assert.equal(rewrite("/a".repeat(1000)), tooCostly);
  // What is short has an outcome, whatever the pattern.
  assert.equal(rewrite("/a".repeat(90)), "_a".repeat(90));
});

test("compileSubstitution() replaces any number of matches of a long text that say where they end", () => {
  for (const [regex, piece, expected] of [
    ["/+", "//a", "_a"],
    ["/", "/", "_"],
    ["[a-z]+", "abc/", "_/"],
    ["/([0-9]+)", "/12", "_"],
    ["%[0-9A-F]{2}", "%41", "_"],
    ["(?i)a|b|c", "aBc", "___"],
  ] as const) {
    const rewrite = compileSubstitution({ pattern: { regex }, substitution: "_" }, "here");
    assert.equal(rewrite(piece.repeat(9000)), expected.repeat(9000), regex);
  }
});
