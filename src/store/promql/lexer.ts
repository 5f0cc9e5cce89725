import { HeddleError } from "../../base/error.ts";

export interface Token {
  readonly kind: "name" | "number" | "duration" | "string" | "symbol" | "end";
  /** As written; for a string, its value. */
  readonly text: string;
  readonly at: number;
}

const rules: readonly (readonly [Token["kind"] | "space", RegExp])[] = [
  ["space", /(?:[ \t\r\n]+|#[^\n]*)/y],
  ["duration", /(?:\d+(?:ms|[ywdhms]))+(?![a-zA-Z0-9_])/y],
  ["number", /(?:0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![a-zA-Z0-9_.])/y],
  ["name", /[a-zA-Z_:][a-zA-Z0-9_:]*/y],
  ["string", /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`/y],
  ["symbol", /==|!=|>=|<=|=~|!~|[-+*/%^(){}[\],<>=@:]/y],
];

/** The tokens of a query, the last of kind `end`. Throws `promql.parse`. */
export function readTokens(query: string): readonly Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < query.length) {
    const found = readToken(query, at);
    if (found === undefined) throw parseError(query, at, `unexpected ${JSON.stringify(query[at])}`);
    const [kind, text] = found;
    if (kind === "string") tokens.push({ kind, text: unquote(query, at, text), at });
    else if (kind !== "space") tokens.push({ kind, text, at });
    at += text.length;
  }
  tokens.push({ kind: "end", text: "", at });
  return tokens;
}

/** `promql.parse` with the place as line:column, both from 1. */
export function parseError(query: string, at: number, reason: string): HeddleError {
  return new HeddleError("promql.parse", `${placeOf(query, at)}: ${reason}`);
}

export function placeOf(query: string, at: number): string {
  const before = query.slice(0, at);
  const line = before.split("\n").length;
  return `${line}:${at - before.lastIndexOf("\n")}`;
}

function readToken(
  query: string,
  at: number,
): readonly [Token["kind"] | "space", string] | undefined {
  for (const [kind, rule] of rules) {
    rule.lastIndex = at;
    const match = rule.exec(query);
    if (match !== null) return [kind, match[0]];
  }
  return undefined;
}

const escapes: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
};

function unquote(query: string, at: number, text: string): string {
  const inner = text.slice(1, -1);
  if (text.startsWith("`")) return inner;
  return inner.replaceAll(/\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/gs, (_, x, u, other) => {
    const code: unknown = x ?? u;
    if (typeof code === "string") return String.fromCodePoint(Number.parseInt(code, 16));
    const plain = escapes[String(other)];
    if (plain === undefined) throw parseError(query, at, "unknown escape in the string");
    return plain;
  });
}
