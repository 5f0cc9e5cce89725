/** Conditions as generated code: straight lines, and each header is looked up once per request. */
import { type RequestPredicate, conditionClosure, holdsOfLine } from "./condition-closure.ts";
import type { Condition, TextCondition, TextSource } from "./condition.ts";
import { stateText } from "./filter-state.ts";
import { type CodeScope, CodeScope as Scope, generate, literal } from "./generated-code.ts";
import { isWithin } from "./ip.ts";
import { isPrincipal } from "./principal.ts";
import { cookieValue, queryValue } from "./request-text.ts";
import {
  isBelow,
  lowerAscii,
  type PlainTextTest,
  textPredicate,
  type TextTest,
} from "./text-test.ts";

/** The index of the first condition that holds; -1 when none does. */
export type FirstMatch = (...request: Parameters<RequestPredicate>) => number;

export interface CodeChoice {
  /** False: closures, also where code may be generated. */
  readonly generatesCode?: boolean;
}

export function compileCondition(condition: Condition, choice: CodeChoice = {}): RequestPredicate {
  const first = compileFirstMatch([condition], choice);
  return (request, path, random) => first(request, path, random) === 0;
}

export function compileFirstMatch(
  conditions: readonly Condition[],
  { generatesCode = true }: CodeChoice = {},
): FirstMatch {
  return (generatesCode ? generated(conditions) : undefined) ?? closures(conditions);
}

function closures(conditions: readonly Condition[]): FirstMatch {
  const predicates = conditions.map(conditionClosure);
  return (request, path, random) => {
    for (let i = 0; i < predicates.length; i++) {
      if (predicates[i]?.(request, path, random) === true) return i;
    }
    return -1;
  };
}

/** Of all conditions of one function; beyond it closures serve. */
const nodesMax = 4096;

function generated(conditions: readonly Condition[]): FirstMatch | undefined {
  const census = takeCensus(conditions);
  if (census.nodes > nodesMax) return undefined;
  const writer = new ConditionWriter(census.headers);
  const lines = conditions.map((condition, i) => {
    const code = writer.write(condition);
    return code === "true" ? `return ${i};` : `if (${code}) return ${i};`;
  });
  const body = [...writer.declarations(), ...lines, "return -1;"].join("\n");
  // The body returns an index on every path, and takes what a predicate takes.
  return generate("request, path, random", body, writer.scope) as FirstMatch | undefined;
}

interface Census {
  nodes: number;
  /** How often each header is asked for. */
  readonly headers: Map<string, number>;
}

function takeCensus(conditions: readonly Condition[]): Census {
  const census: Census = { nodes: 0, headers: new Map() };
  const visit = (condition: Condition): void => {
    census.nodes++;
    if (condition.kind === "all" || condition.kind === "any") condition.of.forEach(visit);
    if (condition.kind === "not") visit(condition.of);
    if (condition.kind !== "text" && condition.kind !== "present") return;
    const { source } = condition;
    if (source.kind !== "header") return;
    census.headers.set(source.name, (census.headers.get(source.name) ?? 0) + 1);
  };
  conditions.forEach(visit);
  return census;
}

/** Headers that are fields of every request. */
const fields: ReadonlyMap<string, string> = new Map([
  [":method", "request.method"],
  // CONNECT has none.
  [":path", "(request.path || undefined)"],
  [":authority", "request.authority"],
  [":scheme", "request.scheme"],
]);

class ConditionWriter {
  readonly scope: CodeScope = new Scope();
  readonly #uses: ReadonlyMap<string, number>;
  /** Variables of headers that are asked for more than once. */
  readonly #variables = new Map<string, string>();
  #usesText = false;
  #usesRoutePath = false;

  constructor(uses: ReadonlyMap<string, number>) {
    this.#uses = uses;
  }

  declarations(): string[] {
    const lines: string[] = [];
    if (this.#usesText) lines.push("let t;");
    if (this.#usesRoutePath) {
      lines.push('const p = path === "" || request.method === "CONNECT" ? undefined : path;');
    }
    // null: not asked for yet; undefined: there is none.
    for (const variable of this.#variables.values()) lines.push(`let ${variable} = null;`);
    return lines;
  }

  write(condition: Condition): string {
    switch (condition.kind) {
      case "always":
        return "true";
      case "never":
        return "false";
      case "all":
        return joined(
          condition.of.map((one) => this.write(one)),
          " && ",
          "true",
        );
      case "any":
        return joined(
          condition.of.map((one) => this.write(one)),
          " || ",
          "false",
        );
      case "not":
        return `!(${this.write(condition.of)})`;
      case "text": {
        const { isInverted, whenMissing, source } = condition;
        if (source.kind === "path") return inverted(this.#test(condition.test, "path"), isInverted);
        if (source.kind === "route-path") {
          this.#usesRoutePath = true;
          const test = inverted(this.#test(condition.test, "p"), isInverted);
          return `(p === undefined ? ${whenMissing} : ${test})`;
        }
        this.#usesText = true;
        const test = inverted(this.#linesTest(condition), isInverted);
        return `((t = ${this.#source(source)}) === undefined ? ${whenMissing} : ${test})`;
      }
      case "present":
        return `(${this.#source(condition.source)} ${condition.isPresent ? "!==" : "==="} undefined)`;
      case "connect":
        return 'request.method === "CONNECT"';
      case "expression":
        return `(request.record !== undefined && ${this.scope.argument(condition.holds)}(request.record))`;
      case "metadata":
        return `${this.scope.argument(condition.matches)}(request.metadata)`;
      case "fraction":
        return `random() < ${literal(condition.share)}`;
      case "server-name":
      case "port":
      case "address":
      case "certificate":
      case "peer":
      case "principal":
        return this.#connection(condition);
    }
  }

  #connection(
    condition: Extract<
      Condition,
      { kind: "server-name" | "port" | "address" | "certificate" | "peer" | "principal" }
    >,
  ): string {
    switch (condition.kind) {
      case "server-name":
        this.#usesText = true;
        return `(t = request.connection.sni ?? "", ${this.#test(condition.test, "t")})`;
      case "port": {
        const { from, until } = condition;
        const port = "request.connection.destinationPort";
        if (until === from + 1) return `${port} === ${literal(from)}`;
        return `(${port} >= ${literal(from)} && ${port} < ${literal(until)})`;
      }
      case "address": {
        const text = {
          direct: "(request.connection.direct?.address ?? request.connection.sourceAddress)",
          source: "request.connection.sourceAddress",
          destination: "request.connection.destinationAddress",
          remote: "(request.remoteAddress ?? request.connection.sourceAddress)",
        }[condition.of];
        return `${this.scope.argument(isWithin)}(${text}, ${this.scope.argument(condition.range)})`;
      }
      case "certificate": {
        const shown = "request.connection.peerCertificate";
        return condition.isValidated ? `${shown} === "validated"` : `${shown} !== undefined`;
      }
      case "peer": {
        if (condition.test === undefined) return "request.connection.peerUriSans.length > 0";
        const test = this.scope.argument(textPredicate(condition.test));
        return `request.connection.peerUriSans.some(${test})`;
      }
      case "principal": {
        if (condition.test === undefined) return "request.connection.isTls";
        const test = this.scope.argument(textPredicate(condition.test));
        return `${this.scope.argument(isPrincipal)}(request.connection, ${test})`;
      }
    }
  }

  #source(source: TextSource): string {
    switch (source.kind) {
      case "path":
        return "path";
      case "route-path":
        this.#usesRoutePath = true;
        return "p";
      case "query":
        return `${this.scope.argument(queryValue)}(request.path, ${literal(source.name)})`;
      case "cookie":
        return `${this.scope.argument(cookieValue)}(request, ${literal(source.name)})`;
      case "state":
        return `${this.scope.argument(stateText)}(request, ${literal(source.name)})`;
      case "header":
        return this.#header(source.name);
      case "computed":
        return `${this.scope.argument(source.textOf)}(request)`;
    }
  }

  #header(name: string): string {
    const field = fields.get(name);
    if (field !== undefined) return field;
    const ask = `request.header(${literal(name)})`;
    if ((this.#uses.get(name) ?? 0) < 2) return ask;
    let variable = this.#variables.get(name);
    if (variable === undefined) {
      variable = `h${this.#variables.size}`;
      this.#variables.set(name, variable);
    }
    return `(${variable} === null ? (${variable} = ${ask}) : ${variable})`;
  }

  /** Of the text in `t`; only what has a comma may stand on several lines. */
  #linesTest({ source, test, isByLine }: TextCondition): string {
    const whole = this.#test(test, "t");
    if (isByLine !== true || source.kind !== "header") return whole;
    const each = `${this.scope.argument(holdsOfLine)}(request, ${literal(source.name)}, t, ${this.scope.argument(textPredicate(test))})`;
    return `(t.includes(",") ? ${each} : ${whole})`;
  }

  /** `text` is the name of a variable that holds a text. */
  #test(test: TextTest, text: string): string {
    if (test.kind === "regex") return `${this.scope.argument(test.regex)}.matches(${text})`;
    if (test.kind === "custom") return `${this.scope.argument(test.matches)}(${text})`;
    const value = test.ignoresCase ? `${this.scope.argument(lowerAscii)}(${text})` : text;
    switch (test.kind) {
      case "exact":
        return `${value} === ${literal(test.text)}`;
      case "prefix":
        return prefixCode(value, test);
      case "suffix":
        return `${value}.endsWith(${literal(test.text)})`;
      case "contains":
        return `${value}.includes(${literal(test.text)})`;
      case "segments":
        return `${this.scope.argument(isBelow)}(${value}, ${literal(test.text)})`;
      case "one-of":
        return `${this.scope.argument(test.texts)}.has(${value})`;
    }
  }
}

/** The last letter tells most texts apart, and costs less to look at than the whole. */
function prefixCode(value: string, { text, ignoresCase }: PlainTextTest): string {
  const whole = `${value}.startsWith(${literal(text)})`;
  // A call would be made twice.
  if (ignoresCase || text.length < 4) return whole;
  const last = text.length - 1;
  return `(${value}.charCodeAt(${literal(last)}) === ${literal(text.charCodeAt(last))} && ${whole})`;
}

function inverted(code: string, isInverted: boolean): string {
  return isInverted ? `!(${code})` : code;
}

function joined(parts: readonly string[], operator: string, empty: string): string {
  return parts.length === 0 ? empty : `(${parts.join(operator)})`;
}
