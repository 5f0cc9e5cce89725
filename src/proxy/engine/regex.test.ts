import assert from "node:assert/strict";
import test from "node:test";

import { compileRegex, compileSearch, compileSubstitution } from "./regex.ts";

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

test("compileRegex() takes linear time on patterns that backtracking engines choke on", () => {
  const text = "a".repeat(5000) + "!";
  const before = performance.now();
  assert.equal(matches("(a+)+", text), false);
  assert.equal(matches("(a|a)*b", text), false);
  assert.ok(performance.now() - before < 2000);
});

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

test("compileSearch() finds anywhere", () => {
  assert.equal(compileSearch("upstream_rq", "filter")("envoy_cluster_upstream_rq_total"), true);
  assert.equal(compileSearch("^upstream", "filter")("envoy_cluster_upstream"), false);
});
