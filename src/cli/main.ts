/**
 * The command line: reads argv and the environment, and hands both down. Each command is a file in
 * `commands/`, imported only when asked for, so that a command starts with what it needs.
 */
import { enableCompileCache } from "node:module";

import { Command, CommanderError } from "commander";

import { HeddleError, messageOf } from "../base/error.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

enableCompileCache();

type Register = (program: Command) => void;

/** Command → the import that registers it. Aliases have entries of their own. */
const commands: Readonly<Record<string, () => Promise<Register>>> = {
  up: async () => (await import("./commands/up.ts")).registerUpCommand,
  down: async () => (await import("./commands/down.ts")).registerDownCommand,
  status: async () => (await import("./commands/status.ts")).registerStatusCommand,
  logs: async () => (await import("./commands/logs.ts")).registerLogsCommand,
  apply: async () => (await import("./commands/apply.ts")).registerApplyCommand,
  get: async () => (await import("./commands/get.ts")).registerGetCommand,
  delete: async () => (await import("./commands/delete.ts")).registerDeleteCommand,
  validate: async () => (await import("./commands/validate.ts")).registerValidateCommand,
  "proxy-status": async () =>
    (await import("./commands/proxy-status.ts")).registerProxyStatusCommand,
  "proxy-config": async () =>
    (await import("./commands/proxy-config.ts")).registerProxyConfigCommand,
  proxy: async () => (await import("./commands/proxy.ts")).registerProxyCommand,
  control: async () => (await import("./commands/control.ts")).registerControlCommand,
  sidecar: async () => (await import("./commands/sidecar.ts")).registerSidecarCommand,
  supervise: async () => (await import("./commands/supervise.ts")).registerSuperviseCommand,
  version: async () => (await import("./commands/version.ts")).registerVersionCommand,
};

const aliases: Readonly<Record<string, string>> = {
  ps: "proxy-status",
  pc: "proxy-config",
  "--version": "version",
  "-V": "version",
};

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const program = new Command("heddle")
    .description("A service mesh for one machine and for Kubernetes: routes, secures, explains.")
    .showHelpAfterError("(heddle --help lists the commands)")
    .configureHelp({ sortSubcommands: false })
    .exitOverride();
  const first = aliases[args[0] ?? ""] ?? args[0] ?? "";
  try {
    for (const load of wanted(first)) (await load())(program);
    await program.parseAsync(aliases[args[0] ?? ""] === "version" ? ["version"] : [...args], {
      from: "user",
    });
    return Number(process.exitCode ?? exitCodes.fine);
  } catch (error) {
    return explain(error);
  }
}

/** One command when it is named, all of them for help and for what is misspelt. */
function wanted(name: string): readonly (() => Promise<Register>)[] {
  const one = Object.hasOwn(commands, name) ? commands[name] : undefined;
  return one === undefined ? Object.values(commands) : [one];
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
    return exitCodes.findings;
  }
  console.error(`heddle: unexpected: ${messageOf(error)}`);
  if (error instanceof Error && error.stack !== undefined) console.error(error.stack);
  return exitCodes.findings;
}
