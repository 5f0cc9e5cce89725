import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";

/**
 * The Envoy that tests run: `HEDDLE_ENVOY`, what `npm test` installed, or one on the PATH; undefined
 * when there is none.
 */
export function findEnvoy(): string | undefined {
  const onPath = (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "envoy"));
  const candidates = [process.env["HEDDLE_ENVOY"] ?? "", resolve(".cache/envoy/envoy"), ...onPath];
  return candidates.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return file !== "";
    } catch {
      return false;
    }
  });
}

export interface RunningEnvoy {
  /** Standard error so far. */
  readonly log: () => string;
  stop(): Promise<void>;
}

/** Starts Envoy with a bootstrap, given as an object, on one worker thread. */
export function startEnvoy(
  binary: string,
  bootstrap: unknown,
  options: readonly string[] = [],
): RunningEnvoy {
  const folder = mkdtempSync(join(tmpdir(), "heddle-envoy-"));
  const file = join(folder, "bootstrap.json");
  writeFileSync(file, JSON.stringify(bootstrap));
  const args = ["-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"];
  args.push(...options);
  const child: ChildProcess = spawn(binary, args, { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  const exited = new Promise<void>((done) => child.once("exit", () => done()));
  return {
    log: () => log,
    stop: async () => {
      child.kill("SIGKILL");
      await exited;
      rmSync(folder, { recursive: true });
    },
  };
}
