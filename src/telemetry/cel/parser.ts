/** Reads a CEL expression by precedence climbing. */
import type { Expression } from "./ast.ts";
import { type Token, tokenize } from "./lexer.ts";

/** Deeper nesting is refused: configuration comes from elsewhere, and the stack is finite. */
const depthMax = 100;

const precedence: Readonly<Record<string, number>> = {
  "||": 1,
  "&&": 2,
  "==": 3,
  "!=": 3,
  "<": 3,
  "<=": 3,
  ">": 3,
  ">=": 3,
  in: 3,
  "+": 4,
  "-": 4,
  "*": 5,
  "/": 5,
  "%": 5,
};

export class CelSyntaxError extends Error {}

/** Throws `CelSyntaxError`. */
export function parseCel(source: string): Expression {
  const tokens = tokenize(source);
  if (typeof tokens === "string") throw new CelSyntaxError(tokens);
  return new Parser(tokens).whole();
}

class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  whole(): Expression {
    const expression = this.#choice();
    if (this.#next().kind !== "end") throw new CelSyntaxError(`has more after its end`);
    return expression;
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? { kind: "end" };
  }

  #next(): Token {
    const token = this.#peek();
    this.#at++;
    return token;
  }

  /** Takes the sign if it comes next. */
  #takes(text: string): boolean {
    const token = this.#peek();
    if (token.kind !== "sign" || token.text !== text) return false;
    this.#at++;
    return true;
  }

  #expect(text: string): void {
    if (!this.#takes(text)) throw new CelSyntaxError(`misses '${text}'`);
  }

  #choice(): Expression {
    if (++this.#depth > depthMax) throw new CelSyntaxError("is nested too deeply");
    const test = this.#binary(1);
    let expression = test;
    if (this.#takes("?")) {
      const yes = this.#choice();
      this.#expect(":");
      expression = { kind: "choice", test, yes, no: this.#choice() };
    }
    this.#depth--;
    return expression;
  }

  #binary(least: number): Expression {
    let left = this.#unary();
    for (;;) {
      const token = this.#peek();
      const sign = token.kind === "sign" || token.kind === "name" ? token.text : "";
      const level = Object.hasOwn(precedence, sign) ? (precedence[sign] ?? 0) : 0;
      if (level < least) return left;
      this.#at++;
      left = { kind: "binary", sign, left, right: this.#binary(level + 1) };
    }
  }

  #unary(): Expression {
    if (++this.#depth > depthMax) throw new CelSyntaxError("is nested too deeply");
    let expression: Expression;
    if (this.#takes("!")) expression = { kind: "not", of: this.#unary() };
    else if (this.#takes("-")) expression = { kind: "minus", of: this.#unary() };
    else expression = this.#member();
    this.#depth--;
    return expression;
  }

  #member(): Expression {
    let of = this.#primary();
    for (;;) {
      if (this.#takes("[")) {
        const at = this.#choice();
        this.#expect("]");
        of = { kind: "index", of, at };
      } else if (this.#takes(".")) {
        const token = this.#next();
        if (token.kind !== "name") throw new CelSyntaxError("has a '.' without a name");
        const name = token.text;
        of = this.#takes("(")
          ? { kind: "call", name, of, given: this.#list(")") }
          : { kind: "field", of, name };
      } else return of;
    }
  }

  #primary(): Expression {
    const token = this.#next();
    switch (token.kind) {
      case "string":
        return { kind: "literal", value: token.text };
      case "number":
        return { kind: "literal", value: token.value };
      case "name":
        return this.#named(token.text);
      case "sign":
        if (token.text === "(") {
          const inner = this.#choice();
          this.#expect(")");
          return inner;
        }
        if (token.text === "[") return { kind: "list", items: this.#list("]") };
        throw new CelSyntaxError(`has an unexpected '${token.text}'`);
      case "end":
        throw new CelSyntaxError("ends too early");
    }
  }

  #named(name: string): Expression {
    if (name === "true" || name === "false") return { kind: "literal", value: name === "true" };
    if (name === "null") return { kind: "literal", value: null };
    if (this.#takes("(")) return { kind: "call", name, of: undefined, given: this.#list(")") };
    return { kind: "name", name };
  }

  #list(end: string): Expression[] {
    const items: Expression[] = [];
    if (this.#takes(end)) return items;
    do items.push(this.#choice());
    while (this.#takes(","));
    this.#expect(end);
    return items;
  }
}
