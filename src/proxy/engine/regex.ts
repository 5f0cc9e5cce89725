/**
 * Regular expressions with RE2's meaning and linear time, whatever the pattern and the text.
 *
 * Every pattern must be valid RE2 (re2js is the gate). The small subset that means the same in V8,
 * and that V8's linear engine accepts, runs there, many times faster; everything else, and every
 * text with bytes beyond ASCII, runs in re2js. A raw `RegExp` over an operator's pattern exists
 * nowhere else in the data plane.
 */
import { RE2JS } from "re2js";

import { bytesOf } from "../../base/latin1.ts";
import type { RegexMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/regex.ts";
import { refuse } from "./refusal.ts";

export interface Regex {
  /** Whether the whole text matches. Texts are as received, one character per byte, and are read as UTF-8. */
  matches(text: string): boolean;
}

const patternLengthMax = 4096;
/** The time of a match grows with it, too: `(a?){1000}` is linear, but a thousand times as slow. */
const programSizeMax = 4096;

export function compileRegex(matcher: RegexMatcher | undefined, path: string): Regex {
  const pattern = matcher?.regex ?? "";
  const linear = compileRe2(pattern, path);
  const fast = compileNative(pattern);
  if (fast === undefined) return { matches: (text) => linear.matches(asUtf8(text)) };
  return {
    matches: (text) => (isAscii(text) ? fast.test(text) : linear.matches(asUtf8(text))),
  };
}

/** The same for what is compared byte by byte, as Envoy does: pattern and text hold a byte each character. */
export function compileBytesRegex(matcher: RegexMatcher | undefined, path: string): Regex {
  const pattern = bytesOf(matcher?.regex ?? "");
  const linear = compileRe2(pattern, path);
  const fast = compileNative(pattern);
  if (fast === undefined) return { matches: (text) => linear.matches(text) };
  return { matches: (text) => (isAscii(text) ? fast.test(text) : linear.matches(text)) };
}

/** Refuses what is no RE2, or too much of it; for `regex-substitution.ts`, too. */
export function compileRe2(pattern: string, path: string): RE2JS {
  if (pattern.length > patternLengthMax) {
    refuse(path, `the regular expression is longer than ${patternLengthMax} characters`);
  }
  const compiled = parseRe2(pattern, path);
  const size = compiled.programSize();
  if (size > programSizeMax) {
    refuse(
      path,
      `the regular expression comes to ${size} instructions, ${programSizeMax} are supported; ` +
        "smaller repetitions help",
    );
  }
  return compiled;
}

function parseRe2(pattern: string, path: string): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch (thrown) {
    // It names the piece of the pattern after its own name.
    const reason = String(thrown).replace(/^\w+: error parsing regexp: /, "");
    return refuse(path, `not a valid RE2 expression: ${reason}`);
  }
}

/** Exactly the characters whose meaning RE2 and V8 share; `.` is rewritten, classes are plain. */
const sharedSyntax =
  /^(?:[A-Za-z0-9 _\-/:;,=@#%&!"'~<>`]|\\[dDwW./\-\\?*+()[\]{}|^$]|\((?:\?:)?|\)|\||\.|[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\}|\[\^?(?:[A-Za-z0-9 _/:;,=@#%&!"'~<>.*+?(){}|$-]|\\[dwDW./\\[\]^-])+\])*$/;
const atoms = /\\.|\[(?:\\.|[^\]])*\]|\./g;
/** Set by `--enable-experimental-regexp-engine`; unknown otherwise. */
const linearFlag = "l";
const beyondAscii = /[\u0080-\uffff]/;

function isAscii(text: string): boolean {
  return !beyondAscii.test(text);
}

function compileNative(pattern: string): RegExp | undefined {
  if (!sharedSyntax.test(pattern)) return undefined;
  // RE2's dot leaves out the line feed alone, JavaScript's also CR and two separators.
  const translated = pattern.replaceAll(atoms, (atom) => (atom === "." ? "[^\\n]" : atom));
  const whole = `^(?:${translated})$`;
  try {
    // The flag exists only where V8's linear engine was switched on at start; what it accepts is
    // what V8 can also fall back to on excessive backtracking.
    if (new RegExp(whole, linearFlag).flags !== linearFlag) return undefined;
    return new RegExp(whole);
  } catch {
    return undefined;
  }
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Reads a one-character-per-byte text as the UTF-8 it is on the wire. */
export function asUtf8(text: string): string {
  if (isAscii(text)) return text;
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0xff) return text;
    bytes[i] = code;
  }
  return decoder.decode(bytes);
}

/** Whether the expression matches somewhere in a text; for people's filters, not for traffic. */
export function compileSearch(pattern: string, path: string): (text: string) => boolean {
  const compiled = compileRe2(pattern, path);
  return (text) => compiled.matcher(text).find();
}
