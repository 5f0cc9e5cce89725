/**
 * Builds Jaeger (all in one) from its pinned Go module into .cache/jaeger, for test/collector: about three
 * minutes on two cores, the first time.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";

import { buildGo, type RunCommand } from "./go.ts";

const folder = resolve(".cache/jaeger");

/** Throws a sentence that says what failed. */
export function buildJaeger(run: RunCommand): void {
  const binary = join(folder, "jaeger");
  if (existsSync(binary)) return;
  console.log("building Jaeger from its Go module (about three minutes)");
  mkdirSync(folder, { recursive: true });
  const jaeger = "github.com/jaegertracing/jaeger/cmd/all-in-one";
  buildGo({ folder: "tools/jaeger", package: jaeger, binary }, run);
}
