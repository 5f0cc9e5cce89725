/**
 * Puts the readers of HTTP/1.1 that have no Debian package into .cache/readers, for
 * test/conformance/readers: a program over Go's net/http, and the parsers of two Python servers.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { buildGo, type RunCommand } from "./go.ts";

const folder = resolve(".cache/readers");
const source = "test/conformance/readers/go-reader";
const packages = ["h11==0.16.0", "gunicorn==27.0.1"] as const;

/** Again when what they are made of has changed. Throws a sentence that says what failed. */
export function buildReaders(run: RunCommand): void {
  const wanted = [...packages, readFileSync(join(source, "main.go"), "utf8")].join("\n");
  const mark = join(folder, "built-from.txt");
  if (existsSync(mark) && readFileSync(mark, "utf8") === wanted) return;
  console.log("installing readers of HTTP/1.1");
  rmSync(folder, { recursive: true, force: true });
  const python = join(folder, "python");
  run("pip3", ["install", "--quiet", "--no-deps", "--target", python, ...packages]);
  buildGo({ folder: source, package: ".", binary: join(folder, "go-reader") }, run);
  writeFileSync(mark, wanted);
}
