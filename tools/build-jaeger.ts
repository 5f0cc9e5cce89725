/**
 * Builds Jaeger (all in one) from its pinned Go module into .cache/jaeger, for test/collector. Needs Go
 * 1.26 and about three minutes on two cores; not part of `npm test`, which must not need Go.
 *
 *   node tools/build-jaeger.ts && node --test test/collector/jaeger.test.ts
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const folder = join(process.cwd(), ".cache/jaeger");
mkdirSync(folder, { recursive: true });
const { status, error } = spawnSync(
  "go",
  ["build", "-o", join(folder, "jaeger"), "github.com/jaegertracing/jaeger/cmd/all-in-one"],
  { cwd: "tools/jaeger", stdio: "inherit", env: { ...process.env, GOFLAGS: "-mod=mod" } },
);
if (error !== undefined) console.error(`heddle: go cannot be started: ${error.message}`);
process.exit(status ?? 1);
