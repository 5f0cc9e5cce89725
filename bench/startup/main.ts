/**
 * How long `heddle up samples/shop` takes, phase by phase, and what its processes hold in memory: the
 * steps as the command prints them, the first request that the gateway answers through the mesh, and
 * the resident and anonymous memory of every process of ours once all is ready.
 *
 *   node bench/startup/main.ts [--runs 3] [--settle 5] [-- further arguments of heddle up]
 *
 * Runs on a copy of the sample with ports of its own, beside other meshes. A first run after a change
 * of the sources makes the bundle and fills Node's compile cache; it is marked, not hidden.
 */
import { spawn } from "node:child_process";
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { formatMemory, memoryBelow } from "./memory.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string", default: "3" },
    settle: { type: "string", default: "5" },
  },
});

const root = join(import.meta.dirname, "../..");
const consolePort = 29_977;
const gatewayPort = 28_080;
const firstRequestMaxMs = 60_000;
const pollMs = 50;

interface Step {
  readonly ms: number;
  readonly text: string;
}

const folder = mkdtempSync(join(tmpdir(), "heddle-startup-"));
try {
  prepare();
  for (let run = 1; run <= Number(values.runs); run++) await measure(run);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function prepare(): void {
  // Applications run as another user.
  chmodSync(folder, 0o755);
  cpSync(join(root, "samples/shop"), join(folder, "shop"), { recursive: true });
  const file = join(folder, "shop/heddle.yaml");
  const text = readFileSync(file, "utf8")
    .replace("mesh: shop", "mesh: startup")
    .replace("port: 9977", `port: ${consolePort}`)
    .replace("hostPort: 8080", `hostPort: ${gatewayPort}`);
  writeFileSync(file, text);
}

async function measure(run: number): Promise<void> {
  const state = join(folder, "state");
  const startMs = performance.now();
  const sinceStart = (): number => Math.round(performance.now() - startMs);
  const child = spawn(
    join(root, "heddle"),
    ["up", join(folder, "shop"), "--state-dir", state, ...positionals],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const steps: Step[] = [];
  const ready = Promise.withResolvers<void>();
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (text: string) => {
    for (const line of text.split("\n").filter((part) => part.trim() !== "")) {
      steps.push({ ms: sinceStart(), text: line.trim() });
      if (/everything is ready|not ready/.test(line)) ready.resolve();
    }
  });
  child.once("exit", () => ready.resolve());
  const firstMs = await firstAnswer(sinceStart);
  await ready.promise;
  const atReady = memoryBelow(child.pid ?? 0);
  await sleep(Number(values.settle) * 1000);
  report(run, steps, firstMs);
  console.log(`when all is ready:\n${formatMemory(atReady)}`);
  console.log(`${values.settle} s later:\n${formatMemory(memoryBelow(child.pid ?? 0))}`);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  if (child.exitCode === null) child.kill("SIGINT");
  await ended;
}

function report(run: number, steps: readonly Step[], firstMs: number | undefined): void {
  const load = loadavg().map((value) => value.toFixed(1));
  console.log(
    `\nrun ${run}${run === 1 ? " (state directory and caches may be new)" : ""}; load ${load.join(" ")}`,
  );
  for (const { ms, text } of steps) console.log(`${String(ms).padStart(7)} ms  ${text}`);
  const answer = firstMs === undefined ? "never" : `${firstMs} ms`;
  console.log(`first request served through the mesh: ${answer} (budget 5000 ms)`);
}

/** When the gateway first answered with the storefront's page. */
async function firstAnswer(sinceStart: () => number): Promise<number | undefined> {
  while (sinceStart() < firstRequestMaxMs) {
    if ((await statusOf(`http://127.0.0.1:${gatewayPort}/`)) === 200) return sinceStart();
    await sleep(pollMs);
  }
  return undefined;
}

function statusOf(url: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, timeout: 1000 }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.once("timeout", () => request.destroy());
    request.once("error", () => resolve(undefined));
  });
}
