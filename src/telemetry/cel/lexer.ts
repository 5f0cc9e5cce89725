/** Tokens of a CEL expression (the Common Expression Language), as far as access logs use it. */
export type Token =
  | { readonly kind: "name"; readonly text: string }
  | { readonly kind: "string"; readonly text: string }
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "sign"; readonly text: string }
  | { readonly kind: "end" };

const pattern =
  /\s+|\/\/[^\n]*|(?<number>0x[0-9a-fA-F]+u?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?u?)|(?<name>[A-Za-z_]\w*)|(?<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?<sign>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()[\]{}])/y;

const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

/** Or why it is none. */
export function tokenize(source: string): Token[] | string {
  const tokens: Token[] = [];
  const matcher = new RegExp(pattern);
  while (matcher.lastIndex < source.length) {
    const at = matcher.lastIndex;
    const found = matcher.exec(source);
    if (found === null) return `cannot be read from '${source.slice(at, at + 10)}' on`;
    const { number, name, text, sign } = found.groups ?? {};
    if (number !== undefined) {
      tokens.push({ kind: "number", value: Number(number.replace(/u$/, "")) });
    } else if (name !== undefined) tokens.push({ kind: "name", text: name });
    else if (text !== undefined) tokens.push({ kind: "string", text: unquote(text) });
    else if (sign !== undefined) tokens.push({ kind: "sign", text: sign });
  }
  tokens.push({ kind: "end" });
  return tokens;
}

function unquote(quoted: string): string {
  return quoted
    .slice(1, -1)
    .replaceAll(
      /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/g,
      (_all, byte?: string, unit?: string, other = "") =>
        byte !== undefined || unit !== undefined
          ? String.fromCharCode(Number.parseInt(byte ?? unit ?? "", 16))
          : (escapes[other] ?? other),
    );
}
