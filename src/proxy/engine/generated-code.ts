/**
 * Where code is generated at run time, and the only place. What a configuration says becomes either
 * a literal, written by `JSON.stringify`, or an argument: nothing of it is ever read as code.
 *
 * A process started with `--disallow-code-generation-from-strings` works without it.
 */

/** The parts of one function under construction. */
export class CodeScope {
  readonly #values: unknown[] = [];
  readonly #names = new Map<unknown, string>();

  /** A name for a value that generated code uses; the value itself is passed as an argument. */
  argument(value: unknown): string {
    let name = this.#names.get(value);
    if (name === undefined) {
      name = `a${this.#values.length}`;
      this.#names.set(value, name);
      this.#values.push(value);
    }
    return name;
  }

  get values(): readonly unknown[] {
    return this.#values;
  }
}

export function literal(value: string | number | boolean): string {
  return JSON.stringify(value);
}

/** Longer code takes more time to compile than it saves. */
const sourceLengthMax = 64 * 1024;
/** Equal sources are one function: short ones (one route for `/`, one allowed caller) are often equal. */
const rememberedLengthMax = 4096;
/** Of all sources that are remembered. */
const rememberedLengthsMax = 256 * 1024;
const factories = new Map<string, Factory>();
let rememberedLengths = 0;

type Factory = (values: readonly unknown[]) => unknown;

/**
 * `body` is the body of a function of `parameters`; undefined where code must not be generated or
 * would be too long. The caller knows the type of what comes out.
 */
export function generate(
  parameters: string,
  body: string,
  scope: CodeScope,
): ((...parameters: never[]) => unknown) | undefined {
  if (!isCodeAllowed() || body.length > sourceLengthMax) return undefined;
  const names = scope.values.map((_value, i) => `const a${i} = a[${i}];\n`).join("");
  const source = `"use strict";\n${names}return function (${parameters}) {\n${body}\n};`;
  let factory = factories.get(source);
  if (factory === undefined) {
    try {
      factory = newFunction(source);
    } catch {
      // Nested deeper than the parser's stack reaches.
      return undefined;
    }
    remember(source, factory);
  }
  const made = factory(scope.values);
  return typeof made === "function" ? (made as (...parameters: never[]) => unknown) : undefined;
}

function remember(source: string, factory: Factory): void {
  if (source.length > rememberedLengthMax) return;
  rememberedLengths += source.length;
  if (rememberedLengths > rememberedLengthsMax) {
    factories.clear();
    rememberedLengths = source.length;
  }
  factories.set(source, factory);
}

let isAllowed: boolean | undefined;

/** Asked once: the process's flags do not change. */
export function isCodeAllowed(): boolean {
  if (isAllowed === undefined) {
    try {
      isAllowed = newFunction("return a;")([1]) !== undefined;
    } catch {
      isAllowed = false;
    }
  }
  return isAllowed;
}

function newFunction(source: string): Factory {
  // The constructor makes a function of exactly this shape. Its source is ours: literals are
  // JSON, everything else is an argument.
  // oxlint-disable-next-line typescript/no-implied-eval
  return new Function("a", source) as Factory;
}
