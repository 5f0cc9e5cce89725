import assert from "node:assert/strict";
import test from "node:test";

import { CodeScope, generate, isCodeAllowed, literal } from "./generated-code.ts";

const call = (made: ReturnType<typeof generate>, ...parameters: unknown[]): unknown =>
  made?.(...(parameters as never[]));

test("generate() makes a function of literals and arguments", () => {
  assert.equal(isCodeAllowed(), true);
  const scope = new CodeScope();
  const join = scope.argument((a: string, b: string) => `${a}-${b}`);
  const body = `return ${join}(text, ${literal('"); throw 1; ("')});`;
  assert.equal(call(generate("text", body, scope), "a"), 'a-"); throw 1; ("');
});

test("literal() is nothing but a value, whatever the text", () => {
  for (const text of [
    '"',
    "\\",
    '\\"',
    "`${1}`",
    "\u2028\u2029",
    "\n\r",
    "*/",
    "</script>",
    "\ud800",
    "\0",
  ]) {
    assert.equal(call(generate("", `return ${literal(text)};`, new CodeScope())), text);
  }
});

test("argument() gives the same value the same name", () => {
  const scope = new CodeScope();
  const one = {};
  assert.equal(scope.argument(one), scope.argument(one));
  assert.notEqual(scope.argument(one), scope.argument({}));
  assert.equal(scope.values.length, 2);
});

test("generate() gives functions of equal source their own arguments", () => {
  const made = ["a", "b"].map((text) => {
    const scope = new CodeScope();
    return generate("", `return ${scope.argument(text)};`, scope);
  });
  assert.deepEqual(
    made.map((each) => call(each)),
    ["a", "b"],
  );
});

test("generate() leaves to closures what is long, or nested too deep for the parser", () => {
  assert.equal(generate("", `return "${"x".repeat(70_000)}";`, new CodeScope()), undefined);
  const deep = `return ${"(".repeat(30_000)}1${")".repeat(30_000)};`;
  const made = generate("", deep, new CodeScope());
  assert.ok(made === undefined || call(made) === 1);
});
