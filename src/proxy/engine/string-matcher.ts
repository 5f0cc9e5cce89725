import type { StringMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/string.ts";
import { refuse } from "./refusal.ts";
import { compileRegex } from "./regex.ts";

export type TextPredicate = (text: string) => boolean;

/** Envoy's StringMatcher; `ignore_case` concerns everything but the regular expression. */
export function compileStringMatcher(
  matcher: StringMatcher | undefined,
  path: string,
): TextPredicate {
  if (matcher === undefined) return refuse(path, "a string matcher is required");
  if (matcher.custom !== undefined) return refuse(`${path}.custom`, "is not supported");
  if (matcher.safeRegex !== undefined) {
    const regex = compileRegex(matcher.safeRegex, `${path}.safe_regex.regex`);
    return (text) => regex.matches(text);
  }
  const plain = compilePlain(matcher, path);
  return matcher.ignoreCase ? (text) => plain(lowerAscii(text)) : plain;
}

function compilePlain(matcher: StringMatcher, path: string): TextPredicate {
  const fold = (text: string): string => (matcher.ignoreCase ? lowerAscii(text) : text);
  if (matcher.exact !== undefined) {
    const wanted = fold(matcher.exact);
    return (text) => text === wanted;
  }
  if (matcher.prefix !== undefined) {
    const wanted = fold(matcher.prefix);
    return (text) => text.startsWith(wanted);
  }
  if (matcher.suffix !== undefined) {
    const wanted = fold(matcher.suffix);
    return (text) => text.endsWith(wanted);
  }
  if (matcher.contains !== undefined) {
    const wanted = fold(matcher.contains);
    return (text) => text.includes(wanted);
  }
  return refuse(path, "names no pattern");
}

/** Lower case for A–Z alone: header text is bytes, not letters of some language. */
export function lowerAscii(text: string): string {
  return text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
