/**
 * `heddle up --detach`: the same command in a session of its own. What it prints goes to files in the
 * state directory, and from there to this terminal until it says that the mesh runs.
 */
import { spawn } from "node:child_process";
import { mkdirSync, openSync, readSync } from "node:fs";
import { join } from "node:path";

import { systemClock } from "../../base/clock.ts";
import { leaseHolder } from "../../local/lease.ts";
import { openStateDirectory } from "../../local/state-directory.ts";
import { stateDirOf } from "../../local/up.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { stateRoot } from "../mesh-api.ts";

const startMaxMs = 90_000;
const pollMs = 50;
const readBytes = 64 * 1024;

export async function upDetached(directory: string, given: string | undefined): Promise<void> {
  const stateDir = given ?? stateDirOf(directory, stateRoot());
  const holder = leaseHolder(stateDir);
  if (holder !== undefined) {
    throw new CommandFailure(
      exitCodes.findings,
      `this mesh already runs, as process ${holder.pid} from ${holder.directory}; end it with 'heddle down'`,
    );
  }
  openStateDirectory(stateDir);
  const logs = join(stateDir, "logs");
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  const output = new Echo(join(logs, "up.log"), process.stdout);
  const problems = new Echo(join(logs, "up-problems.log"), process.stderr);
  const args = process.argv.slice(1).filter((word) => word !== "--detach");
  const child = spawn(process.execPath, [...process.execArgv, ...args], {
    stdio: ["ignore", output.descriptor, problems.descriptor],
    detached: true,
  });
  const ended = new Promise<number>((resolve) => {
    child.once("exit", (code) => resolve(code ?? exitCodes.findings));
  });
  const end = systemClock.monotonicMs() + startMaxMs;
  for (;;) {
    const exitCode = await Promise.race([ended, pause(pollMs)]);
    problems.pass();
    output.pass();
    const isReady = saysWhetherReady(output.text);
    if (isReady !== undefined) {
      child.unref();
      process.exitCode = isReady ? exitCodes.fine : exitCodes.findings;
      return;
    }
    if (exitCode !== undefined) {
      process.exitCode = exitCode; // why, it has said itself
      return;
    }
    if (systemClock.monotonicMs() > end) {
      const message = `the mesh is not up after ${startMaxMs / 1000} s, and goes on trying as process ${child.pid}; see ${logs}`;
      child.unref();
      throw new CommandFailure(exitCodes.findings, message);
    }
  }
}

/** Undefined until it says that the mesh runs, in whichever format; then whether all of it is ready. */
function saysWhetherReady(text: string): boolean | undefined {
  const [, json] = /^\{"ready":(true|false).*\}\n/m.exec(text) ?? [];
  const [, yaml] = /^ready: (true|false)\n[^]*\nelapsedMs: .*\n/m.exec(text) ?? [];
  const said = json ?? yaml;
  if (said !== undefined) return said === "true";
  return /^try:\n(?:  .*\n)+\n/m.test(text) ? / everything is ready\n/.test(text) : undefined;
}

/** A file that a process writes, passed on to a terminal as it grows. */
class Echo {
  readonly descriptor: number;
  text = "";
  readonly #source: number;
  readonly #target: NodeJS.WriteStream;
  readonly #buffer: Buffer = Buffer.alloc(readBytes);

  constructor(path: string, target: NodeJS.WriteStream) {
    this.descriptor = openSync(path, "w", 0o600);
    this.#source = openSync(path, "r");
    this.#target = target;
  }

  pass(): void {
    for (;;) {
      const bytes = readSync(this.#source, this.#buffer);
      if (bytes === 0) return;
      const text = this.#buffer.toString("utf8", 0, bytes);
      this.text += text;
      this.#target.write(text);
    }
  }
}

async function pause(ms: number): Promise<undefined> {
  await new Promise<void>((resolve) => {
    systemClock.schedule(ms, resolve);
  });
  return undefined;
}
