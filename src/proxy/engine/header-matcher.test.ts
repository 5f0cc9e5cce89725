import assert from "node:assert/strict";
import test from "node:test";
import { inspect } from "node:util";

import { type Fields, message } from "../../../test/support/message.ts";
import { HeaderMatcher } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { compileHeaderMatcher } from "./header-matcher.ts";

function check(fields: Fields<HeaderMatcher>, value: string | undefined, expected: boolean): void {
  const matcher = message(HeaderMatcher, { name: "X-Test", ...fields });
  const matches = compileHeaderMatcher(matcher, "headers[0]");
  const label = `${inspect(fields)} on ${String(value)}`;
  assert.equal(
    matches((name) => (name === "x-test" ? value : undefined)),
    expected,
    label,
  );
}

test("compileHeaderMatcher() compares values", () => {
  check({ stringMatch: { exact: "a" } }, "a", true);
  check({ stringMatch: { exact: "a" } }, "A", false);
  check({ stringMatch: { exact: "a", ignoreCase: true } }, "A", true);
  check({ stringMatch: { prefix: "ab" } }, "abc", true);
  check({ stringMatch: { suffix: "bc" } }, "abc", true);
  check({ stringMatch: { contains: "b" } }, "abc", true);
  check({ stringMatch: { safeRegex: { regex: "a.c" } } }, "abc", true);
  check({ stringMatch: { safeRegex: { regex: "b" } } }, "abc", false);
  check({ exactMatch: "a,b" }, "a,b", true);
  check({ rangeMatch: { start: -10n, end: 0n } }, "-1", true);
  check({ rangeMatch: { start: -10n, end: 0n } }, "0", false);
  check({ rangeMatch: { start: -10n, end: 0n } }, "1somestring", false);
});

test("compileHeaderMatcher() tells absent from empty", () => {
  check({}, "", true);
  check({}, undefined, false);
  check({ presentMatch: true }, "x", true);
  check({ presentMatch: false }, undefined, true);
  check({ presentMatch: true, invertMatch: true }, undefined, true);
  check({ presentMatch: true, invertMatch: true }, "x", false);
  check({ stringMatch: { exact: "a" }, invertMatch: true }, undefined, false);
  check({ stringMatch: { exact: "a" }, invertMatch: true }, "b", true);
  const empty = { treatMissingHeaderAsEmpty: true } as const;
  check({ stringMatch: { exact: "a" }, invertMatch: true, ...empty }, undefined, true);
  check({ stringMatch: { exact: "" }, ...empty }, undefined, true);
});

test("compileHeaderMatcher() refuses matchers without a pattern", () => {
  assert.throws(() => check({ stringMatch: {} }, "a", true), {
    code: "xds.refused",
    message: "headers[0].string_match: names no pattern",
  });
});
