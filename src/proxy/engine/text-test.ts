/** What a rule asks of one piece of text, as data; `textPredicate` makes a closure of it. */
import type { Regex } from "./regex.ts";

export type TextPredicate = (text: string) => boolean;

/** Where case is ignored, `text` is in lower case already. */
export interface PlainTextTest {
  readonly kind: "exact" | "prefix" | "suffix" | "contains" | "segments";
  readonly text: string;
  readonly ignoresCase: boolean;
}

export type TextTest =
  | PlainTextTest
  | { readonly kind: "one-of"; readonly texts: ReadonlySet<string>; readonly ignoresCase: boolean }
  | { readonly kind: "regex"; readonly regex: Regex }
  | { readonly kind: "custom"; readonly matches: TextPredicate };

export function textPredicate(test: TextTest): TextPredicate {
  switch (test.kind) {
    case "regex":
      return (text) => test.regex.matches(text);
    case "custom":
      return test.matches;
    case "exact":
    case "prefix":
    case "suffix":
    case "contains":
    case "segments":
    case "one-of": {
      const plain = plainPredicate(test);
      return test.ignoresCase ? (text) => plain(lowerAscii(text)) : plain;
    }
  }
}

function plainPredicate(test: Exclude<TextTest, { kind: "regex" | "custom" }>): TextPredicate {
  if (test.kind === "one-of") {
    const { texts } = test;
    return (text) => texts.has(text);
  }
  const wanted = test.text;
  switch (test.kind) {
    case "exact":
      return (text) => text === wanted;
    case "prefix":
      return (text) => text.startsWith(wanted);
    case "suffix":
      return (text) => text.endsWith(wanted);
    case "contains":
      return (text) => text.includes(wanted);
    case "segments":
      return (text) => isBelow(text, wanted);
  }
}

/** `/a` and `/a/b` are below `/a`, `/ab` is not. */
export function isBelow(path: string, parent: string): boolean {
  return path.startsWith(parent) && (path.length === parent.length || path[parent.length] === "/");
}

const upperAscii = /[A-Z]/;

/** Lower case for A–Z alone: header text is bytes, not letters of some language. */
export function lowerAscii(text: string): string {
  if (!upperAscii.test(text)) return text;
  return text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
