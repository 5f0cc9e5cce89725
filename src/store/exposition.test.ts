import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseSeriesText, readExposition } from "./exposition.ts";

function check(text: string, expected: Readonly<Record<string, number>> | string): void {
  const found: Record<string, number> = {};
  const error = readExposition(text, {
    onType: () => {},
    onSample: (series, value) => {
      const parsed = parseSeriesText(series);
      if (typeof parsed === "string") return parsed;
      found[parsed.map(([name, label]) => `${name}=${label}`).join(" ")] = value;
      return undefined;
    },
  });
  if (typeof expected === "string") assert.equal(`${error?.line}: ${error?.reason}`, expected);
  else assert.deepEqual([error, found], [undefined, expected]);
}

test("readExposition() reads samples with and without labels, timestamps and escapes", () => {
  check('# HELP a b\n# TYPE a counter\na 1\n\nb{c="d",} 2.5e3 1700000000000\n', {
    "__name__=a": 1,
    "__name__=b c=d": 2500,
  });
  check('a{x="}{\\"\\\\\\n #",y="" } +Inf', { '__name__=a x=}{"\\\n # y=': Infinity });
  check("a -Inf\r\nb NaN", { "__name__=a": -Infinity, "__name__=b": Number.NaN });
});

test("readExposition() refuses what is malformed, with the line", () => {
  check("a 1\nb", "2: a sample without a value");
  check("a 1x", "1: not a number");
  check("a 0x10", "1: not a number");
  check("a 1 2 3", "1: text after the sample");
  check("a 1 x", "1: not a timestamp");
  check('a{b="c" 1', "1: malformed labels");
  check('a{b="c"d="e"} 1', "1: malformed labels");
  check('a{b="c",b="d"} 1', "1: label b twice");
  check("a{b=c} 1", "1: malformed labels");
  check('{b="c"} 1', "1: not a metric name");
  check("# TYPE a countess", "1: malformed TYPE");
  check(`a{b="${"x".repeat(5000)}"} 1`, "1: value of b too long");
  check("x".repeat(70_000), "1: line too long");
});

const label = fc.stringMatching(/^[a-z_]{1,8}$/);

test("readExposition() reads back whatever was written", () => {
  fc.assert(
    fc.property(fc.dictionary(label, fc.string()), fc.double(), (labels, value) => {
      const escaped = Object.entries(labels).map(
        ([name, text]) =>
          `${name}="${text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"')}"`,
      );
      const number = value === Infinity ? "+Inf" : String(value).replace("Infinity", "Inf");
      const expected = ["__name__=m", ...Object.entries(labels).map(([n, text]) => `${n}=${text}`)];
      check(`m{${escaped.join(",")}} ${number}`, {
        [expected.join(" ")]: value === 0 ? Number(number) : value,
      });
    }),
  );
});

test("readExposition() ends on any text", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(...'a{}=",\\ \n#1.e+TYPE'.split("")) }),
      (text) => {
        readExposition(text, {
          onType: () => {},
          onSample: (series) =>
            typeof parseSeriesText(series) === "string" ? "refused" : undefined,
        });
      },
    ),
  );
});
