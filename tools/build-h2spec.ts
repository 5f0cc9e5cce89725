/** Builds h2spec, which asks an HTTP/2 server what RFC 9113 and RFC 7541 ask of it, into .cache/h2spec. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { buildGo, type RunCommand } from "./go.ts";

const folder = resolve(".cache/h2spec");
const source = "test/conformance/http2/h2spec";

/** Again when what it is made of has changed. Returns the program. Throws a sentence that says what failed. */
export function buildH2spec(run: RunCommand): string {
  const wanted = ["go.mod", "go.sum", "main.go"]
    .map((file) => readFileSync(join(source, file), "utf8"))
    .join("\n");
  const binary = join(folder, "h2spec");
  const mark = join(folder, "built-from.txt");
  if (existsSync(mark) && readFileSync(mark, "utf8") === wanted) return binary;
  console.log("building h2spec");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  buildGo({ folder: source, package: ".", binary }, run);
  writeFileSync(mark, wanted);
  return binary;
}
