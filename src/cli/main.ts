/** The command line: reads argv, runs the command, turns what was thrown into a sentence and a status. */
import { HeddleError, messageOf } from "../base/error.ts";
import { withSourcePositions } from "./bundle/source-positions.ts";
import { useCompileCache } from "./compile-cache.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

/** What was named on the command line is not there. */
const wrongUsage: ReadonlySet<string> = new Set(["local.no-directory", "local.no-mesh-file"]);

const words = process.argv.slice(2);
// Node keeps what it has read of the cache for the life of the process: 2 MB for each replica, where compiling takes 30 ms once.
if (words[0] !== "sidecar") useCompileCache();

process.exitCode = await main(words);

async function main(args: readonly string[]): Promise<number> {
  try {
    // One per workload: it does without the parser of command lines, which it would hold for its life.
    const sidecar = plainSidecar(args);
    if (sidecar !== undefined) {
      const { runSidecarProcess } = await import("./sidecar/process.ts");
      return await runSidecarProcess(sidecar.file, sidecar);
    }
    const { commandNamed, createProgram } = await import("./program.ts");
    const name = commandNamed(args[0] ?? "");
    const program = await createProgram(name);
    await program.parseAsync(name === "version" ? ["version", ...args.slice(1)] : [...args], {
      from: "user",
    });
    return Number(process.exitCode ?? exitCodes.fine);
  } catch (error) {
    return explain(error);
  }
}

/** What `sidecar --options FILE --kept-sockets FD` says, where nothing else, variables neither, has to be understood. */
function plainSidecar(
  args: readonly string[],
): { readonly file: string; readonly keptSockets?: string } | undefined {
  const [command, option, file, keptOption, keptSockets, ...others] = args;
  const { HEDDLE_IO, HEDDLE_CONCURRENCY } = process.env;
  if (command !== "sidecar" || option !== "--options" || file === undefined) return undefined;
  if (HEDDLE_IO !== undefined || HEDDLE_CONCURRENCY !== undefined) return undefined;
  if (keptOption === undefined) return { file };
  const isPlain = keptOption === "--kept-sockets" && others.length === 0;
  return isPlain && keptSockets !== undefined ? { file, keptSockets } : undefined;
}

function explain(error: unknown): number {
  if (isCommanderError(error)) {
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
  if (error instanceof Error && error.stack !== undefined) {
    console.error(withSourcePositions(error.stack));
  }
  return exitCodes.findings;
}

/** Told by its code: the class is not loaded where nobody parses. */
function isCommanderError(error: unknown): error is Error & { readonly exitCode: number } {
  return (
    error instanceof Error &&
    "code" in error &&
    String(error.code).startsWith("commander.") &&
    "exitCode" in error
  );
}
