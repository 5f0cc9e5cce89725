/**
 * Replaces all matches of a regular expression, as RE2's `GlobalReplace` does, which Envoy uses.
 *
 * One search is linear. Many are not: each begins where the last match ended, and may look to the end of the text
 * before it knows that its match is short, as `/+(.*\/end)?` does after each slash. So the searches for a text
 * are bounded together by how far they look (docs/data-planes.md), and what is beyond has no outcome: its request is refused.
 * re2js reads through an input of our own, which remembers how far; its prefilters, which would look ahead
 * themselves, are not asked.
 */
import type { RegexMatchAndSubstitute } from "../../wire/gen/ts/envoy/type/matcher/v3/regex.ts";
import { refuse } from "./refusal.ts";
import { asUtf8, compileRe2 } from "./regex.ts";

/** In place of a text that would take too much work. */
export const tooCostly: unique symbol = Symbol("too costly");
export type TooCostly = typeof tooCostly;

/** The searches for a text look so many times its length ahead, all together … */
const lookedTimesMax = 8;
/** … and so many characters more: texts of some 180 are never too costly. */
const lookedMore = 16_384;

/** The substitution refers to groups as `\1`, `\0` is the whole match. Texts are as received, a character for each byte. */
export function compileSubstitution(
  rule: RegexMatchAndSubstitute,
  path: string,
): (text: string) => string | TooCostly {
  const pattern = compileRe2(rule.pattern?.regex ?? "", `${path}.pattern.regex`);
  const parts = parseSubstitution(rule.substitution, pattern.groupCount(), path);
  const engine = pattern.re2();
  const bounds = 2 * (1 + pattern.groupCount());
  return (received) => {
    const text = asUtf8(received);
    const input = new ReadText(text);
    let left = lookedMore + lookedTimesMax * text.length;
    let result = "";
    let at = 0;
    let lastEnd = -1;
    while (at <= text.length) {
      if (left < 0) return tooCostly;
      input.furthest = at;
      const found: number[] | null = engine.executeEngine(input, at, unanchored, bounds);
      left -= input.furthest - at;
      if (found === null) break;
      const [start = 0, end = 0] = found;
      const isEmpty = start === end;
      result += text.slice(at, start);
      // An empty match right behind another one is none.
      if (!isEmpty || start !== lastEnd) {
        for (const part of parts)
          result += typeof part === "string" ? part : group(text, found, part);
      }
      lastEnd = end;
      at = end;
      if (isEmpty) {
        at += input.widthAt(end);
        result += text.slice(end, at);
      }
    }
    return result + text.slice(at);
  };
}

function group(text: string, bounds: readonly number[], which: number): string {
  const start = bounds[2 * which] ?? -1;
  return start < 0 ? "" : text.slice(start, bounds[2 * which + 1]);
}

/** A part that is a number is a group. */
function parseSubstitution(text: string, groups: number, path: string): (string | number)[] {
  const parts: (string | number)[] = [];
  let literal = "";
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (char !== "\\") {
      literal += char;
      continue;
    }
    const next = text.charAt(++i);
    if (next === "\\") {
      literal += "\\";
    } else if (next >= "0" && next <= "9" && next !== "") {
      if (Number(next) > groups) refuse(`${path}.substitution`, `group \\${next} does not exist`);
      parts.push(literal, Number(next));
      literal = "";
    } else {
      refuse(`${path}.substitution`, "a backslash must be followed by a digit or a backslash");
    }
  }
  parts.push(literal);
  return parts;
}

// What re2js says in numbers.
const unanchored = 0;
const endOfText = -8;
const beginLine = 1;
const endLine = 2;
const beginText = 4;
const endText = 8;
const wordBoundary = 16;
const noWordBoundary = 32;
const lineFeed = 10;

/** A text as re2js reads it (its `MachineInput`), which knows how far that was. */
class ReadText {
  readonly #text: string;
  /** Positions from here on were not read. */
  furthest = 0;

  constructor(text: string) {
    this.#text = text;
  }

  endPos(): number {
    return this.#text.length;
  }

  canCheckPrefix(): boolean {
    return true;
  }

  prefixLength({ prefix }: { readonly prefix: string }): number {
    return prefix.length;
  }

  /** Prefilters: nothing is ruled out before it is read. */
  hasString(): boolean {
    return true;
  }

  hasAnyString(): boolean {
    return true;
  }

  /** Where the text that each match begins with is, from `at` on; negative: nowhere. */
  index({ prefix }: { readonly prefix: string }, at: number): number {
    const found = this.#text.indexOf(prefix, at);
    this.#onRead(found < 0 ? this.#text.length : found + prefix.length);
    return found < 0 ? -1 : found - at;
  }

  /** The character there, above three bits of how many units it has. */
  step(at: number): number {
    this.#onRead(at + 1);
    const code = this.#text.codePointAt(at);
    return code === undefined ? endOfText : (code << 3) | widthOf(code);
  }

  /** What is true between two units. */
  context(at: number): number {
    const before = at > 0 ? this.#text.charCodeAt(at - 1) : undefined;
    const after = at < this.#text.length ? this.#text.charCodeAt(at) : undefined;
    let flags = isWord(before) === isWord(after) ? noWordBoundary : wordBoundary;
    if (before === undefined) flags |= beginText | beginLine;
    if (before === lineFeed) flags |= beginLine;
    if (after === undefined) flags |= endText | endLine;
    if (after === lineFeed) flags |= endLine;
    return flags;
  }

  /** Of the character there; 1 at the end, which is behind it then. */
  widthAt(at: number): number {
    return widthOf(this.#text.codePointAt(at) ?? 0);
  }

  #onRead(end: number): void {
    if (end > this.furthest) this.furthest = Math.min(end, this.#text.length);
  }
}

function widthOf(code: number): number {
  return code > 0xffff ? 2 : 1;
}

/** Letters, digits and the underscore of ASCII. */
function isWord(code: number | undefined): boolean {
  if (code === undefined) return false;
  if (code >= 0x61 && code <= 0x7a) return true;
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x30 && code <= 0x39) || code === 0x5f;
}
