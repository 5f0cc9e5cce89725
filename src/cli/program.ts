/**
 * The command table. Each command is a file in `commands/`, imported only when asked for, so that a
 * command starts with what it needs.
 */
import { Command } from "commander";

type Register = (program: Command) => void;

/** Command → the import that registers it. Aliases have entries of their own. */
const commands: Readonly<Record<string, () => Promise<Register>>> = {
  up: async () => (await import("./commands/up.ts")).registerUpCommand,
  down: async () => (await import("./commands/down.ts")).registerDownCommand,
  status: async () => (await import("./commands/status.ts")).registerStatusCommand,
  logs: async () => (await import("./commands/logs.ts")).registerLogsCommand,
  tap: async () => (await import("./commands/tap.ts")).registerTapCommand,
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
  bench: async () => (await import("./commands/bench.ts")).registerBenchCommand,
  "bench-load": async () => (await import("./commands/bench-load.ts")).registerBenchLoadCommand,
  version: async () => (await import("./commands/version.ts")).registerVersionCommand,
};

const aliases: Readonly<Record<string, string>> = {
  ps: "proxy-status",
  pc: "proxy-config",
  "--version": "version",
  "-V": "version",
};

/** The name a command is registered under: `ps` → `proxy-status`, `--version` → `version`. */
export function commandNamed(word: string): string {
  return aliases[word] ?? word;
}

/** A program with one command when it exists, with all of them for help and for what is misspelt. */
export async function createProgram(name: string): Promise<Command> {
  const program = new Command("heddle")
    .description("A service mesh in TypeScript: routes, secures, observes, explains.")
    .showHelpAfterError("(heddle --help lists the commands)")
    .configureHelp({ sortSubcommands: false })
    .exitOverride();
  const one = Object.hasOwn(commands, name) ? commands[name] : undefined;
  for (const load of one === undefined ? Object.values(commands) : [one]) (await load())(program);
  return program;
}
