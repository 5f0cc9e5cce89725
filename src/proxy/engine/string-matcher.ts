import type { StringMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/string.ts";
import { refuse } from "./refusal.ts";
import { compileRegex } from "./regex.ts";
import { lowerAscii, type TextPredicate, type TextTest, textPredicate } from "./text-test.ts";

/** Envoy's StringMatcher; `ignore_case` concerns everything but the regular expression. */
export function textTestOf(
  matcher: StringMatcher | undefined,
  path: string,
  compile: typeof compileRegex = compileRegex,
): TextTest {
  if (matcher === undefined) return refuse(path, "a string matcher is required");
  if (matcher.custom !== undefined) return refuse(`${path}.custom`, "is not supported");
  if (matcher.safeRegex !== undefined) {
    return { kind: "regex", regex: compile(matcher.safeRegex, `${path}.safe_regex.regex`) };
  }
  const ignoresCase = matcher.ignoreCase;
  const fold = (text: string): string => (ignoresCase ? lowerAscii(text) : text);
  if (matcher.exact !== undefined) {
    return { kind: "exact", text: fold(matcher.exact), ignoresCase };
  }
  if (matcher.prefix !== undefined) {
    return { kind: "prefix", text: fold(matcher.prefix), ignoresCase };
  }
  if (matcher.suffix !== undefined) {
    return { kind: "suffix", text: fold(matcher.suffix), ignoresCase };
  }
  if (matcher.contains !== undefined) {
    return { kind: "contains", text: fold(matcher.contains), ignoresCase };
  }
  return refuse(path, "names no pattern");
}

export function compileStringMatcher(
  matcher: StringMatcher | undefined,
  path: string,
): TextPredicate {
  return textPredicate(textTestOf(matcher, path));
}
