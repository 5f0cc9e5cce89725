/**
 * What a plain YAML scalar means to the Kubernetes API server (sigs.k8s.io/yaml): YAML 1.1 booleans
 * and octal numbers, numbers with exponents, dates as text.
 */
export function resolvePlainScalar(text: string): string | number | boolean | null {
  if (nulls.has(text)) return null;
  if (truths.has(text)) return true;
  if (falsehoods.has(text)) return false;
  if (!/^[-+.0-9]/.test(text)) return text;
  return resolveInteger(text) ?? resolveFloat(text) ?? text;
}

const nulls = new Set(["", "~", "null", "Null", "NULL"]);
const truths = new Set("y Y yes Yes YES true True TRUE on On ON".split(" "));
const falsehoods = new Set("n N no No NO false False FALSE off Off OFF".split(" "));

const bases: readonly (readonly [RegExp, number, number])[] = [
  [/^0b[01]+$/, 2, 2],
  [/^0x[0-9a-fA-F]+$/, 16, 2],
  [/^0o[0-7]+$/, 8, 2],
  [/^0[0-7]+$/, 8, 1],
  [/^(?:0|[1-9][0-9]*)$/, 10, 0],
];

function resolveInteger(text: string): number | undefined {
  const sign = text.startsWith("-") ? -1 : 1;
  const digits = text.replace(/^[-+]/, "").replaceAll("_", "");
  for (const [pattern, base, skip] of bases) {
    if (pattern.test(digits)) return sign * Number.parseInt(digits.slice(skip), base);
  }
  return undefined;
}

function resolveFloat(text: string): number | undefined {
  return /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/.test(text)
    ? Number(text)
    : undefined;
}
