/** Starts the benchmark's processes, each bound to one core, and fills in their configuration. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface Running {
  readonly pid: number;
  stop(): void;
}

/** Writes a template with its `__NAME__`s filled; returns the file. */
export function fill(
  template: string,
  folder: string,
  values: Readonly<Record<string, string>>,
): string {
  const text = readFileSync(join(import.meta.dirname, template), "utf8");
  const file = join(folder, `${values["NAME"] ?? ""}-${template}`);
  writeFileSync(
    file,
    text.replaceAll(/__([A-Z]+)__/g, (whole, name: string) => values[name] ?? whole),
  );
  return file;
}

export function start(command: readonly string[], core: number): Running {
  const child: ChildProcess = spawn("taskset", ["-c", String(core), ...command], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`could not start ${command.join(" ")}`);
  return { pid, stop: () => void child.kill("SIGTERM") };
}

export async function waitForPort(port: number): Promise<void> {
  for (let attempt = 0; attempt < 150; attempt++) {
    if (await canConnect(port)) return;
    await sleep(100);
  }
  throw new Error(`nothing listens on port ${port} after 15 s`);
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
