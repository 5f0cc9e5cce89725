/**
 * How many new connections per second a contestant answers in the rig of the hot restart: far more are asked
 * for than can be, at most a thousand are open, and each process tells what a connection has cost it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { freePort } from "../../test/support/free-port.ts";
import type { ApplicationPorts } from "./application.ts";
import { bootstrapOf } from "./bootstrap.ts";
import type { NewcomersLine, NewcomersResult } from "./newcomers.ts";
import { childrenOf, cpuMsOf } from "./processes.ts";
import { runScript } from "./script.ts";
import { SupervisedProxy } from "./supervised-proxy.ts";

export type Contestant = "application" | "nginx" | "heddle";

export interface NewcomersLoad {
  /** New connections per second. */
  readonly rate: number;
  readonly seconds: number;
  /** The contestant is replaced in the middle: nginx by HUP, Heddle's proxy by SIGHUP. */
  readonly replaces: boolean;
}

export interface ContestantResult {
  readonly newcomers: NewcomersResult;
  /** Of the contestant's processes that lasted, for a connection, in microseconds. */
  readonly cpuUsEach: number;
}

interface Started {
  readonly port: number;
  /** Whoever is told to replace what serves. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

/** Throws where it cannot start. */
export async function runContestant(
  contestant: Contestant,
  { rate, seconds, replaces }: NewcomersLoad,
): Promise<ContestantResult> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-newcomers-"));
  const application = runScript("application.ts");
  let started: Started | undefined;
  try {
    const behind = await application.next<ApplicationPorts>();
    const { pid, port } = (started = await start(contestant, folder, behind));
    const serving = pid === undefined ? [] : [pid, ...childrenOf(pid)];
    const used = (): number => serving.reduce((sum, one) => sum + cpuMsOf(one), 0);
    const before = used();
    const load = runScript("newcomers.ts", String(port), String(rate));
    const result = load.until<NewcomersLine>(({ kind }) => kind === "result");
    await sleep((seconds * 1000) / 2);
    if (replaces && pid !== undefined) process.kill(pid, "SIGHUP");
    await sleep((seconds * 1000) / 2);
    load.process.stdin?.end();
    const newcomers = await result;
    if (newcomers.kind !== "result") throw new Error("the load has told no result");
    return { newcomers, cpuUsEach: ((used() - before) * 1000) / Math.max(1, newcomers.answered) };
  } finally {
    await started?.stop();
    application.process.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  }
}

async function start(
  contestant: Contestant,
  folder: string,
  application: ApplicationPorts,
): Promise<Started> {
  if (contestant === "application") {
    return { port: application.http, pid: undefined, stop: async () => {} };
  }
  const port = await freePort();
  if (contestant === "nginx") return await startNginx(folder, port, application.http);
  const file = join(folder, "proxy.json");
  writeFileSync(
    file,
    JSON.stringify(bootstrapOf({ http: port, tcp: await freePort() }, application)),
  );
  const proxy = await SupervisedProxy.start(file, { concurrency: 0, drainTimeS: 10 });
  return { port, pid: proxy.keeper.pid, stop: () => proxy.stop() };
}

async function startNginx(folder: string, port: number, behind: number): Promise<Started> {
  const template = join(import.meta.dirname, "../data-plane/nginx.conf");
  const text = readFileSync(template, "utf8")
    .replaceAll("__CORES__", "1")
    .replaceAll("__FOLDER__", folder)
    .replaceAll("__BACKEND__", String(behind))
    .replaceAll("__PORT__", String(port));
  const file = join(folder, "nginx.conf");
  writeFileSync(file, text);
  const nginx: ChildProcess = spawn("nginx", ["-c", file], { stdio: "inherit" });
  const ended = once(nginx, "exit");
  const { pid = 0 } = nginx;
  while (childrenOf(pid).length === 0) {
    if (nginx.exitCode !== null) throw new Error("nginx has ended");
    await sleep(20);
  }
  return {
    port,
    pid,
    async stop() {
      nginx.kill("SIGTERM");
      await ended;
    },
  };
}
