import { existsSync } from "node:fs";
import { join } from "node:path";

import { Option, type Command } from "commander";

import { systemClock } from "../../base/clock.ts";
import { isAlive, leaseHolder } from "../../local/lease.ts";
import { holdsMeshFile, stateDirOf } from "../../local/up.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { chooseMesh, stateRoot } from "../mesh-api.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";

interface Options {
  readonly stateDir?: string;
  readonly output: OutputFormat;
}

interface Outcome {
  readonly ended: boolean;
  readonly pid?: number;
  readonly directory?: string;
}

const graceMs = 15_000;
const pollMs = 50;

export function registerDownCommand(program: Command): void {
  program
    .command("down")
    .argument("[mesh]", "folder it was started from, or its name; this folder, or the only one")
    .description("end a mesh that 'heddle up' started")
    .addOption(new Option("--state-dir <folder>", "state of this mesh").env("HEDDLE_STATE_DIR"))
    .addOption(outputOption())
    .action(async (mesh: string | undefined, options: Options) => {
      const stateDir = options.stateDir ?? stateDirOfArgument(mesh);
      const holder = leaseHolder(stateDir);
      if (holder === undefined) {
        const outcome: Outcome = { ended: false };
        print(options.output, outcome, () => "nothing to end: the mesh does not run");
        return;
      }
      process.kill(holder.pid, "SIGTERM");
      const end = systemClock.monotonicMs() + graceMs;
      while (isAlive(holder)) {
        if (systemClock.monotonicMs() > end) {
          process.kill(holder.pid, "SIGKILL");
          const message = `process ${holder.pid} did not end in ${graceMs / 1000} s and was killed`;
          throw new CommandFailure(exitCodes.findings, message);
        }
        await new Promise<void>((resolve) => {
          systemClock.schedule(pollMs, resolve);
        });
      }
      const { pid, directory } = holder;
      const outcome: Outcome = { ended: true, pid, directory };
      print(options.output, outcome, () => `the mesh from ${directory} has ended`);
    });
}

function stateDirOfArgument(mesh: string | undefined): string {
  if (mesh === undefined) {
    return holdsMeshFile(".") ? stateDirOf(".", stateRoot()) : chooseMesh(undefined);
  }
  const byName = join(stateRoot(), mesh);
  if (/^[a-z0-9-]+$/.test(mesh) && existsSync(byName)) return byName;
  if (existsSync(mesh)) return stateDirOf(mesh, stateRoot());
  throw new CommandFailure(exitCodes.unreachable, `there is no mesh or folder ${mesh}`);
}
