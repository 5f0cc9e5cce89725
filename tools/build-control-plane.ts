/**
 * Builds the control plane that is not Heddle's (test/conformance/dynamic/control-plane: go-control-plane
 * with a snapshot of each line it reads) into .cache/control-plane, again when its source has changed:
 * under a minute on two cores, the first time.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

import { buildGo, type RunCommand } from "./go.ts";

const source = "test/conformance/dynamic/control-plane";
const folder = resolve(".cache/control-plane");

/** The program's path. Throws a sentence that says what failed. */
export function buildControlPlane(run: RunCommand): string {
  const hash = createHash("sha256");
  for (const file of ["main.go", "go.mod", "go.sum"]) hash.update(readFileSync(join(source, file)));
  const binary = join(folder, `server-${hash.digest("hex").slice(0, 16)}`);
  if (existsSync(binary)) return binary;
  console.log("building a control plane from Go modules (under a minute)");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  buildGo({ folder: source, package: ".", binary }, run);
  return binary;
}
