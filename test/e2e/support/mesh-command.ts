/** `heddle up` as a test starts it: its words, as whom, and the line that says that it is ready. */
import { type ChildProcess, spawn } from "node:child_process";
import { dirname, join } from "node:path";

import { takeDetours } from "../../../src/local/place/application-script.ts";
import { detoursTo, programPlaces } from "../../../src/local/place/detours.ts";
import type { MeshSetup } from "./mesh.ts";

const root = dirname(dirname(dirname(import.meta.dirname)));
/** Whom a mesh without root runs as where the tests run as root. */
export const unprivileged = 1000;

/** The words of a command, as they stand in a YAML list. */
export function applicationCommand(file: string, socketDir: string): string {
  return `${process.execPath}, ${join(import.meta.dirname, file)}, ${socketDir}`;
}

export interface UpPaths {
  readonly directory: string;
  readonly stateDir: string;
  readonly drops: boolean;
}

export function spawnUp(setup: MeshSetup, { directory, stateDir, drops }: UpPaths): ChildProcess {
  const entry =
    setup.processes === "heddle"
      ? join(root, "src/cli/main.ts")
      : join(import.meta.dirname, "stand-in.ts");
  const mode = setup.mode === "explicit" ? "explicit" : "namespaces";
  const command = [
    ...(drops ? dropping(stateDir) : []),
    ...(setup.wrapper ?? []),
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    entry,
    "up",
    directory,
    `--mode=${mode}`,
    `--state-dir=${stateDir}`,
    "--output=json",
    `--proxy=${setup.dataPlane ?? "heddle"}`,
    ...(setup.upArguments ?? []),
  ];
  return spawn(command[0] ?? "", command.slice(1), {
    stdio: ["ignore", "pipe", "pipe"],
    // Nothing is to be written outside the checkout.
    env: { ...process.env, HOME: join(root, ".cache", "home"), ...setup.environment },
  });
}

/**
 * Words that make a command run without root: also where it may not enter the folder of this checkout,
 * as in root's home.
 */
function dropping(stateDir: string): readonly string[] {
  const detours = detoursTo([root, ...programPlaces(process.env["PATH"] ?? "")], {
    uid: unprivileged,
    gid: unprivileged,
  });
  // Not found by the PATH: a test may put another program there.
  const script = ["set -e", ...takeDetours(detours, `${stateDir}.workshop`), 'exec "$@"'];
  const way =
    detours.length === 0
      ? []
      : ["/usr/bin/unshare", "--mount", "--", "sh", "-c", script.join("\n"), "-"];
  return [
    ...way,
    "setpriv",
    `--reuid=${unprivileged}`,
    `--regid=${unprivileged}`,
    "--clear-groups",
  ];
}

export interface Ready {
  readonly ready: boolean;
  readonly notReady: readonly string[];
  readonly consoleUrl: string;
  readonly gatewayUrls: readonly string[];
  readonly pid: number;
}

export function collect(child: ChildProcess): { text: string; onText: () => void } {
  const output = { text: "", onText: () => {} };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output.text += text;
      output.onText();
    });
  }
  return output;
}

export async function readyLine(
  child: ChildProcess,
  output: { text: string; onText: () => void },
  { readyMaxMs: maxMs = 120_000, isPartly = false }: MeshSetup,
): Promise<Ready> {
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(`not ready in ${maxMs} ms`), maxMs);
    const wanted = isPartly ? /^\{.*"ready":.*\n/m : /^\{.*"ready":true.*\n/m;
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`heddle up: ${why}\n${output.text}`));
    };
    child.once("exit", (code, signal) => fail(`ended with ${code ?? signal}`));
    output.onText = () => {
      const line = wanted.exec(output.text)?.[0];
      if (line === undefined) return;
      clearTimeout(timer);
      const ready: Ready = JSON.parse(line);
      resolve(ready);
    };
  });
}
