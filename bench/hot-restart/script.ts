/** A script of this folder as a process that tells what it does in lines of JSON. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface Script {
  readonly process: ChildProcess;
  readonly pid: number;
  next<Line>(): Promise<Line>;
  /** The first line, from now on, of which this is true; rejects where the script has ended. */
  until<Line>(isIt: (line: Line) => boolean): Promise<Line>;
}

export function runScript(name: string, ...args: readonly string[]): Script {
  const words = ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, name), ...args];
  const child = spawn(process.execPath, words, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const until = <Line>(isIt: (line: Line) => boolean): Promise<Line> =>
    new Promise((resolve, reject) => {
      const onLine = (text: string): void => {
        // From a script of ours.
        const line = JSON.parse(text) as Line;
        if (!isIt(line)) return;
        lines.off("line", onLine).off("close", onClose);
        resolve(line);
      };
      const onClose = (): void => reject(new Error(`${name} has ended`));
      lines.on("line", onLine).on("close", onClose);
    });
  return { process: child, pid: child.pid ?? 0, until, next: () => until(() => true) };
}
