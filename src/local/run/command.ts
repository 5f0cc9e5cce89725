/** Short commands (ip, nft, unshare): run to their end, failing with a sentence that names them. */
import { spawn } from "node:child_process";

import { HeddleError } from "../../base/error.ts";

const outputCharactersMax = 1024 * 1024;

/** Standard output of a command that must succeed; `input` is its standard input. */
export async function runCommand(command: readonly string[], input?: string): Promise<string> {
  const [program, ...args] = command;
  return await new Promise((resolve, reject) => {
    const child = spawn(program ?? "", args, { stdio: ["pipe", "pipe", "pipe"] });
    let output = "";
    let complaint = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (output.length < outputCharactersMax) output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (complaint.length < outputCharactersMax) complaint += text;
    });
    child.stdin.on("error", () => {
      // It ended without reading all of it: its exit code says whether that matters.
    });
    child.once("error", (error) => reject(failure(command, error.message)));
    child.once("close", (code, signal) => {
      if (code === 0) resolve(output);
      else reject(failure(command, complaint.trim() || `ended with ${code ?? signal}`));
    });
    child.stdin.end(input ?? "");
  });
}

function failure(command: readonly string[], why: string): HeddleError {
  const shown = command.slice(0, 3).join(" ").split("\n")[0]?.slice(0, 80);
  const sentence = why.split("\n").slice(0, 3).join("; ");
  return new HeddleError("local.command", `could not run ${shown}: ${sentence}`);
}
