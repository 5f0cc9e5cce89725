import { existsSync, realpathSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

import { Option, type Command } from "commander";

import { systemClock } from "../../base/clock.ts";
import { isAlive, leaseHolder } from "../../local/lease.ts";
import { holdsMeshFile, stateDirOf } from "../../local/up.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { chooseMesh, runningMeshes, severalRun, stateRoot, whatRuns } from "../mesh-api.ts";
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

const howToName = "name one: heddle down NAME";
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
      if (options.output === "table") {
        console.error(`ending the mesh from ${holder.directory}, process ${holder.pid}`);
      }
      endProcess(holder.pid, "SIGTERM");
      const end = systemClock.monotonicMs() + graceMs;
      while (isAlive(holder)) {
        if (systemClock.monotonicMs() > end) {
          endProcess(holder.pid, "SIGKILL");
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
    const here = startedFrom(".");
    if (here !== undefined) return here;
    return holdsMeshFile(".") ? stateDirOf(".", stateRoot()) : chooseMesh(undefined, howToName);
  }
  const byName = join(stateRoot(), mesh);
  if (/^[a-z0-9-]+$/.test(mesh) && existsSync(byName)) return byName;
  if (existsSync(mesh)) return startedFrom(mesh) ?? stateDirOf(mesh, stateRoot());
  const message = `there is no mesh or folder ${mesh}; ${whatRuns(runningMeshes())}`;
  throw new CommandFailure(exitCodes.unreachable, message);
}

// By the folder, not by what its file says now: the file may be broken, or name another mesh.
function startedFrom(path: string): string | undefined {
  const folder = statSync(path).isDirectory() ? resolve(path) : dirname(resolve(path));
  const found = runningMeshes().filter(({ directory }) => isSameFolder(directory, folder));
  if (found.length > 1) throw severalRun(found, howToName);
  return found[0]?.stateDir;
}

function isSameFolder(one: string, other: string): boolean {
  try {
    return realpathSync(one) === realpathSync(other);
  } catch {
    return one === other; // the folder was taken away while the mesh runs
  }
}

function endProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (thrown) {
    if (!(thrown instanceof Error) || !("code" in thrown) || thrown.code !== "EPERM") return; // it has ended
    const message = `process ${pid} belongs to another user; end the mesh as that user`;
    throw new CommandFailure(exitCodes.unreachable, message);
  }
}
