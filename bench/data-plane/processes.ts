/** Starts the benchmark's processes, bound to cores. */
import { type ChildProcess, spawn } from "node:child_process";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface Running {
  readonly pid: number;
  /** Resolves when it has ended. */
  stop(): Promise<void>;
}

/** `cores`: as taskset reads them; `folder`: where it works, and leaves what it writes. */
export function start(
  command: readonly string[],
  { cores, folder }: { readonly cores: string; readonly folder: string },
): Running {
  const child: ChildProcess = spawn("taskset", ["-c", cores, ...command], {
    stdio: ["ignore", "ignore", "inherit"],
    cwd: folder,
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`could not start ${command.join(" ")}`);
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    pid,
    stop: () => {
      child.kill("SIGTERM");
      return ended;
    },
  };
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
