/**
 * What tests of faults need besides a mesh: load with its own account of failures, the processes to
 * be ended by their role, and the mesh's own view of itself.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";

import type { SidecarOptions } from "../../../src/base/sidecar-options.ts";
import type { ProxyStatus, StatusAnswer, WorkloadSummary } from "../../../src/console/api.ts";
import { findEnvoy } from "../../support/envoy.ts";
import {
  askConsole,
  eventually,
  meshModes,
  type MeshMode,
  startMesh,
  type TestMesh,
} from "./mesh.ts";

export type DataPlane = "heddle" | "envoy";

export const dataPlanes: readonly DataPlane[] = ["heddle", "envoy"];

/** The strongest way to run a mesh that this user has. */
export const faultMode: MeshMode = meshModes[0] ?? "rootless";

const root = dirname(dirname(dirname(import.meta.dirname)));

export async function startFaultMesh(
  dataPlane: DataPlane,
  files: Readonly<Record<string, string>>,
  upArguments: readonly string[] = [],
): Promise<TestMesh> {
  const envoy = findEnvoy();
  assert(envoy !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  const environment = { HEDDLE_ENVOY: envoy };
  return await startMesh({
    mode: faultMode,
    processes: "heddle",
    dataPlane,
    files,
    environment,
    upArguments,
  });
}

export interface Load {
  readonly url: string;
  readonly rate: number;
  readonly forMs: number;
  readonly connections?: number;
}

export interface LoadResult {
  readonly sent: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly failures: readonly { readonly atMs: number; readonly failure: string }[];
  /** Answers by the instance that gave them. */
  readonly from: Readonly<Record<string, number>>;
  readonly longestMs: number;
  readonly forMs: number;
}

/** Sends requests from an instance (whose command is `{exec}`) and lets it count. */
export async function load(mesh: TestMesh, from: string, asked: Load): Promise<LoadResult> {
  const script = join(import.meta.dirname, "load-client.mjs");
  const { url, rate, forMs, connections = 16 } = asked;
  const line = `exec ${process.execPath} ${script} ${url} ${rate} ${connections} ${forMs}`;
  const { code, stdout, stderr } = await mesh.workload(from).exec(line);
  assert.equal(code, 0, stderr);
  const result: LoadResult = JSON.parse(stdout);
  return result;
}

/** Ends the load from an instance before its time; `load()` tells how long it was. */
export async function endLoad(mesh: TestMesh, from: string): Promise<void> {
  const { code, stderr } = await mesh.workload(from).exec("pkill -TERM -f '[/]load-client.mjs'");
  assert.equal(code, 0, `no load is running: ${stderr}`);
}

/** Every request was answered well, and as many were sent as were asked for. */
export function assertUnharmed(result: LoadResult, { rate }: { readonly rate: number }): void {
  assert.deepEqual(result.failures, []);
  assert.equal(result.failed, 0);
  assert(result.sent / (result.forMs / 1000) > rate * 0.9, `only ${result.sent} were sent`);
}

/** The process id, as the host sees it, of the process started with a word; undefined when it is down. */
export function pidWith(mesh: TestMesh, word: string): number | undefined {
  return mesh.processes().find((pid) => commandOf(pid).some((one) => one.endsWith(word)));
}

/** Whether an instance's application (`{exec}`) has started, once. */
export function hasApplicationStarted(mesh: TestMesh, instance: string): boolean {
  return existsSync(join(dirname(mesh.directory), "exec", `${instance}.sock`));
}

export function controlPid(mesh: TestMesh): number | undefined {
  return pidWith(mesh, "/control.json");
}

export function commandOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return []; // it has just ended
  }
}

export interface ControlDown extends AsyncDisposable {
  /** Lets it start again, which it does by itself. */
  bringBack(): void;
}

/** Ends the control plane, and with it the CA, until it is brought back: it finds no options to start. */
export async function takeControlDown(mesh: TestMesh): Promise<ControlDown> {
  const options = join(mesh.stateDir, "control.json");
  renameSync(options, `${options}.away`);
  const pid = controlPid(mesh);
  if (pid !== undefined) process.kill(pid, "SIGKILL");
  const isDown = async (): Promise<boolean> => (await ask(mesh, "status")) === undefined;
  await eventually("the control plane is down", isDown);
  const bringBack = (): void => {
    if (existsSync(`${options}.away`)) renameSync(`${options}.away`, options);
  };
  return {
    bringBack,
    [Symbol.asyncDispose]: async () => {
      bringBack();
      await eventually("the control plane is back", async () => !(await isDown()), 30_000);
    },
  };
}

/** An answer of the console's API; undefined when nobody answers. */
export async function ask<Answer>(mesh: TestMesh, path: string): Promise<Answer | undefined> {
  try {
    const response = await askConsole(mesh, `/api/${path}`);
    if (!response.ok) return undefined;
    const answer: Answer = JSON.parse(await response.text());
    return answer;
  } catch {
    return undefined;
  }
}

export async function workloads(mesh: TestMesh): Promise<readonly WorkloadSummary[]> {
  return (await ask<readonly WorkloadSummary[]>(mesh, "workloads")) ?? [];
}

export async function proxies(mesh: TestMesh): Promise<readonly ProxyStatus[]> {
  return (await ask<readonly ProxyStatus[]>(mesh, "proxies")) ?? [];
}

export async function statusOf(mesh: TestMesh): Promise<StatusAnswer | undefined> {
  return await ask<StatusAnswer>(mesh, "status");
}

/** Waits until everything runs, and every proxy has acknowledged all it was sent. */
export async function settled(mesh: TestMesh, count: number, maxMs = 30_000): Promise<void> {
  const isSettled = async (): Promise<boolean> => {
    const [instances, known] = [await workloads(mesh), await proxies(mesh)];
    return (
      instances.length === count &&
      instances.every((one) => one.state === "ready") &&
      known.length === count &&
      known.every(
        ({ connection, refusals, types }) =>
          connection.kind === "connected" &&
          refusals.length === 0 &&
          types.length > 0 &&
          types.every((type) => type.state !== "pending"),
      )
    );
  };
  try {
    await eventually("everything runs and is in sync", isSettled, maxMs);
  } catch (thrown) {
    const shown = JSON.stringify([await workloads(mesh), await proxies(mesh)], undefined, 1);
    throw new Error(`${String(thrown)}: ${shown}`, { cause: thrown });
  }
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `heddle …` for this mesh. */
export async function heddle(mesh: TestMesh, ...words: readonly string[]): Promise<CommandResult> {
  const entry = join(root, "src/cli/main.ts");
  const args = ["--disable-warning=ExperimentalWarning", entry, ...words];
  return await new Promise((resolve) => {
    const options = { env: { ...process.env, HEDDLE_STATE_DIR: mesh.stateDir } };
    execFile(process.execPath, args, options, (error, stdout, stderr) => {
      const code = typeof error?.code === "number" ? error.code : error === null ? 0 : 255;
      resolve({ code, stdout, stderr });
    });
  });
}

/** An instance's metrics as its own workload reads them: `name{labels}` → value. */
export async function metricsOf(
  mesh: TestMesh,
  instance: string,
): Promise<ReadonlyMap<string, number>> {
  const { statusAddress, ports } = sidecarOptions(mesh, instance);
  const url = `http://${statusAddress}:${ports.metrics}/stats/prometheus`;
  const { stdout } = await mesh.workload(instance).exec(`curl -s -m 5 ${url}`);
  const rows = stdout.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    rows.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

/** What a sidecar answers to `from` on its ready port: sentence and status; ` 000` when nobody listens. */
export async function readiness(
  mesh: TestMesh,
  instance: string,
  from: string = instance,
): Promise<string> {
  const { statusAddress, ports } = sidecarOptions(mesh, instance);
  const url = `http://${statusAddress}:${ports.ready}/healthz/ready`;
  const asked = `curl -s -m 5 -w ' %{http_code}' ${url}`;
  return (await mesh.workload(from).exec(asked)).stdout.replace("\n", "");
}

export function sidecarOptions(mesh: TestMesh, instance: string): SidecarOptions {
  const file = join(mesh.stateDir, "i", `${instance}.default`, "options.json");
  const options: SidecarOptions = JSON.parse(readFileSync(file, "utf8"));
  return options;
}

export async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Uniform in [0, 1), the same for the same seed (a linear congruential generator). */
export function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}
