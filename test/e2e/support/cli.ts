/** Runs `./heddle` as a user does, against a mesh that a test has started. */
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";

import type { TestMesh } from "./mesh.ts";

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const program = join(dirname(dirname(dirname(import.meta.dirname))), "heddle");

/** `stateDir` says which mesh is meant; `input` is standard input. */
export async function runCli(
  stateDir: string,
  words: readonly string[],
  input = "",
): Promise<CliResult> {
  const child = spawn(program, words, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, HEDDLE_STATE_DIR: stateDir },
  });
  const result = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (result.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (result.stderr += text));
  // A command that needs no input ends without having read it.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, ...result };
}

/** `heddle WORDS` for one mesh. */
export function cliOf(mesh: TestMesh): (line: string, input?: string) => Promise<CliResult> {
  return async (line, input) => await runCli(mesh.stateDir, line.split(" "), input);
}
