/**
 * Checks what the compiler and the linter don't: which area may import which area, Node module and
 * package, what is private to an area, and how long files are. An error names the file, the rule
 * and its reason.
 */
import { globSync, readFileSync } from "node:fs";
import { posix } from "node:path";

import { type Area, areas, fileLinesMax, fileLinesRatchet, purePlaces } from "./tidy-rules.ts";

const importSpecifier = /(?:(?<!\.)\bfrom|\bimport|\bgetBuiltinModule)\s*\(?\s*"([^"]+)"/g;
const importedType = /import\s+type\s[^;]*?from\s*"([^"]+)"/g;

const errors: string[] = [];
for (const file of globSync("src/**/*.ts")) {
  if (file.startsWith("src/wire/gen/")) continue;
  const text = readFileSync(file, "utf8");
  checkImports(file, text);
  checkLength(file, text);
}
for (const file of globSync("{tools,test,bench}/**/*.ts")) {
  checkLength(file, readFileSync(file, "utf8"));
}
for (const error of errors) console.error(error);
process.exitCode = errors.length > 0 ? 1 : 0;

function checkImports(file: string, text: string): void {
  const from = areaOf(file);
  if (from === "cli") return; // The composition root: it wires every area together.
  const area = areas[from];
  if (area === undefined) {
    errors.push(`${file}: src/${from} is not in the table of tools/tidy-rules.ts`);
    return;
  }
  const typesOnly = new Set([...text.matchAll(importedType)].map((match) => match[1] ?? ""));
  for (const [, specifier = ""] of text.matchAll(importSpecifier)) {
    if (specifier.startsWith(".")) checkArea(file, specifier, area);
    else if (!typesOnly.has(specifier)) checkOutside(file, specifier, area);
  }
}

function checkArea(file: string, specifier: string, area: Area): void {
  const from = areaOf(file);
  const target = posix.join(posix.dirname(file), specifier);
  if (!target.startsWith("src/")) {
    if (!isTest(file)) errors.push(`${file}: ${target} is outside src/`);
    return;
  }
  const to = areaOf(target);
  if (to === from) return;
  if (isFaceOfEngine(target) && area.may.includes("proxy/engine")) return;
  if (!area.may.includes(to)) {
    errors.push(`${file}: ${from} may not import ${to} (${area.why})`);
  } else if (target.split("/").length > 3 && !target.startsWith("src/wire/gen/")) {
    errors.push(`${file}: ${target} is private to ${to}; import a file directly in src/${to}/`);
  }
}

function checkOutside(file: string, specifier: string, area: Area): void {
  if (isTest(file)) return;
  const pure = purePlaces.find((place) => file.startsWith(place.path));
  const allowed = pure?.packages ?? area.packages;
  const name = specifier.startsWith("node:") ? specifier : packageOf(specifier);
  if (!allowed.includes(name)) {
    const place = pure?.path ?? `src/${areaOf(file)}/`;
    errors.push(`${file}: ${place} may not import ${name} (${pure?.why ?? area.why})`);
  }
}

function checkLength(file: string, text: string): void {
  const lines = text.split("\n").length - 1;
  const max = isTest(file) ? fileLinesMax * 2 : (fileLinesRatchet[file] ?? fileLinesMax);
  if (lines > max) errors.push(`${file}: ${lines} lines, at most ${max}: split by concept`);
}

function isTest(file: string): boolean {
  return /\.(test|prop\.test)\.ts$/.test(file) || file.startsWith("test/");
}

/** `proxy/engine.ts` and `proxy/engine/` decide for the proxy and explain for everyone else. */
function isFaceOfEngine(target: string): boolean {
  return target === "src/proxy/engine.ts" || target.startsWith("src/proxy/engine/");
}

function packageOf(specifier: string): string {
  return specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
}

function areaOf(file: string): string {
  return file.split("/")[1] ?? "";
}
