/** Builds ghz, the benchmark's client of gRPC, from its pinned Go module, into .cache/ghz. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { buildGo, type RunCommand } from "./go.ts";

const folder = resolve(".cache/ghz");
const source = "bench/data-plane/grpc";

/** Again when what it is made of has changed. Returns the program. Throws a sentence that says what failed. */
export function buildGhz(run: RunCommand): string {
  const wanted = ["go.mod", "go.sum", "tools.go"]
    .map((file) => readFileSync(join(source, file), "utf8"))
    .join("\n");
  const binary = join(folder, "ghz");
  const mark = join(folder, "built-from.txt");
  if (existsSync(mark) && readFileSync(mark, "utf8") === wanted) return binary;
  console.error("building ghz (about a minute)");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  buildGo({ folder: source, package: "github.com/bojand/ghz/cmd/ghz", binary }, run);
  writeFileSync(mark, wanted);
  return binary;
}
