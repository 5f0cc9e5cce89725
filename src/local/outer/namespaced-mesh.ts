/** Starts the supervisor inside namespaces of its own, and serves it what only the host has. */
import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";

import { HeddleError } from "../../base/error.ts";
import { descriptorOf } from "../../net/socket-handle.ts";
import { unshareArguments } from "../probe.ts";
import { LogFile } from "../run/log-file.ts";
import { replaceFile } from "../run/replace-file.ts";
import type { SupervisorOptions } from "../supervisor-options.ts";
import type { HostListener } from "./host-listener.ts";
import { Readiness } from "./readiness.ts";
import { serveUplink } from "./uplink.ts";

export interface NamespacedMeshOptions {
  readonly supervisor: Omit<SupervisorOptions, "console">;
  readonly uid: number;
  readonly console: HostListener;
  readonly gateways: readonly HostListener[];
  readonly onStep: (text: string) => void;
}

export interface MeshProcess {
  readonly readiness: Readiness;
  /** Resolves with a sentence when the mesh has ended, whoever ended it. */
  readonly ended: Promise<string>;
  /** Process ids for tests and `status`. */
  readonly pid: number;
  stop(graceMs: number): Promise<void>;
}

const firstInherited = 4;

export function startNamespacedMesh(options: NamespacedMeshOptions): MeshProcess {
  const { console, uid } = options;
  const { stateDir, heddle, environment, directory } = options.supervisor;
  const supervisor: SupervisorOptions = {
    ...options.supervisor,
    console: { descriptor: firstInherited },
  };
  const optionsFile = join(stateDir, "supervisor.json");
  replaceFile(optionsFile, JSON.stringify(supervisor, undefined, 2));
  const log = new LogFile(join(stateDir, "logs", "supervisor.log"));
  // A process group of its own: Ctrl-C is ours alone, and ends the mesh in order.
  const child = spawn(
    "unshare",
    [...unshareArguments(uid), "--", ...heddle, "supervise", "--options", optionsFile],
    {
      cwd: directory,
      env: { ...environment },
      stdio: ["ignore", "pipe", "pipe", "ipc", descriptorOf(console.server)],
      detached: true,
      serialization: "json",
    },
  );
  // The gateways' follow when the mesh asks for them: `unshare` would hold on to what it inherits, and
  // a port that is given up would stay open until the mesh ends.
  console.server.close();
  child.stdout?.on("data", (chunk: Buffer) => log.write(chunk));
  child.stderr?.on("data", (chunk: Buffer) => log.write(chunk));
  return followProcess(child, log, options);
}

function followProcess(
  child: ChildProcess,
  log: LogFile,
  { onStep, gateways }: NamespacedMeshOptions,
): MeshProcess {
  const ended = Promise.withResolvers<string>();
  const readiness = new Readiness();
  const onEnd = (how: string, hint = ""): void => {
    const words = log.lastComplaint();
    log.close();
    for (const { server } of gateways) server.close();
    // What a process was killed by it does not write down.
    const why =
      words === undefined ? `${how}${hint}` : `${how}; it wrote: ${words}; ${log.path} says more`;
    ended.resolve(why);
    readiness.fail(new HeddleError("local.ended", why));
  };
  child.once("error", (error) => onEnd(`the mesh could not be started: ${error.message}`));
  child.once("exit", (code, signal) => {
    if (signal === null) onEnd(`the mesh ended with code ${code}`);
    else onEnd(`the mesh ended by ${signal}`, `; ${whoSends(signal)}`);
  });
  serveUplink({
    child,
    gateways,
    onStep,
    onReady: (notReady) => readiness.tell(notReady),
    onFailed: (error) => readiness.fail(error),
  });
  return {
    readiness,
    ended: ended.promise,
    pid: child.pid ?? 0,
    async stop(graceMs) {
      if (child.connected) child.send({ kind: "stop" }, () => {});
      // --kill-child: the mesh's first process, and with it its PID namespace, ends with unshare.
      const force = setTimeout(() => child.kill("SIGKILL"), graceMs);
      await ended.promise;
      clearTimeout(force);
    },
  };
}

/** For a supervisor that was ended without a word. */
function whoSends(signal: NodeJS.Signals): string {
  const remedy = "start it again with 'heddle up'";
  if (signal !== "SIGKILL") return `somebody has sent it that signal; ${remedy}`;
  return `somebody has killed its first process, or the kernel has for want of memory ('dmesg' would say so); ${remedy}`;
}
