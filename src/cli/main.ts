/** The command line: reads argv, runs the command, turns what was thrown into a sentence and a status. */
import { enableCompileCache } from "node:module";

import { CommanderError } from "commander";

import { HeddleError, messageOf } from "../base/error.ts";
import { CommandFailure, exitCodes } from "./exit.ts";
import { commandNamed, createProgram } from "./program.ts";

/** What was named on the command line is not there. */
const wrongUsage: ReadonlySet<string> = new Set(["local.no-directory", "local.no-mesh-file"]);

enableCompileCache();

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const name = commandNamed(args[0] ?? "");
  try {
    const program = await createProgram(name);
    await program.parseAsync(name === "version" ? ["version", ...args.slice(1)] : [...args], {
      from: "user",
    });
    return Number(process.exitCode ?? exitCodes.fine);
  } catch (error) {
    return explain(error);
  }
}

function explain(error: unknown): number {
  if (error instanceof CommanderError) {
    // Help and version are thrown as errors too, with status 0.
    return error.exitCode === 0 ? exitCodes.fine : exitCodes.usage;
  }
  if (error instanceof CommandFailure) {
    console.error(`heddle: ${error.message}`);
    return error.exitCode;
  }
  if (error instanceof HeddleError) {
    console.error(`heddle: ${error.message} (${error.code})`);
    return wrongUsage.has(error.code) ? exitCodes.usage : exitCodes.findings;
  }
  console.error(`heddle: unexpected: ${messageOf(error)}`);
  if (error instanceof Error && error.stack !== undefined) console.error(error.stack);
  return exitCodes.findings;
}
