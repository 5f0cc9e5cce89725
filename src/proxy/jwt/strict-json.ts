/**
 * JSON objects that two readers read alike: a name that stands twice in one object is refused, for
 * the application behind may take the other one. So are objects and lists nested without end.
 */

export type JsonObject = Readonly<Record<string, unknown>>;

/** As deep as Envoy reads. */
const depthMax = 100;

/** Undefined for what is no such object. Names that objects inherit are names like any other. */
export function parseJsonObject(text: string): JsonObject | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  if (!hasUniqueNames(text)) return undefined;
  // Checked above; JSON has no other keys than texts.
  return value as JsonObject;
}

const quote = 0x22;
const backslash = 0x5c;

/** `text` is JSON, as its parser has found: only its strings and brackets need a look. */
function hasUniqueNames(text: string): boolean {
  /** The names of each object that is open; undefined for a list. */
  const open: (Set<string> | undefined)[] = [];
  let at = 0;
  let isNameNext = false;
  while (at < text.length) {
    const unit = text.charCodeAt(at);
    if (unit === quote) {
      const end = endOfString(text, at);
      const names = open.at(-1);
      if (isNameNext && names !== undefined) {
        const name = String(JSON.parse(text.slice(at, end)));
        if (names.has(name)) return false;
        names.add(name);
      }
      isNameNext = false;
      at = end;
      continue;
    }
    const mark = text[at];
    if (mark === "{" || mark === "[") {
      if (open.length >= depthMax) return false;
      open.push(mark === "{" ? new Set() : undefined);
      isNameNext = mark === "{";
    } else if (mark === "}" || mark === "]") {
      open.pop();
      isNameNext = false;
    } else if (mark === ",") {
      isNameNext = open.at(-1) !== undefined;
    }
    at++;
  }
  return true;
}

/** Behind its closing quote. */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length) {
    const unit = text.charCodeAt(at);
    if (unit === quote) return at + 1;
    at += unit === backslash ? 2 : 1;
  }
  return at;
}
