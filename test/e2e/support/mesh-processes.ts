/** The processes of a mesh, as the host sees them, and what the kernel counts in their network namespaces. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { promisify } from "node:util";

import { captureCounters } from "../../../src/local/capture/rules.ts";
import type { MeshSetup } from "./mesh.ts";

const run = promisify(execFile);

/** What the kernel counts of packets that a sidecar did not send: see the capture rules. */
export type PassedCounter = (typeof captureCounters)[keyof typeof captureCounters];

export type Counters = Readonly<Record<string, number>>;

/** Every process below `pid`, as the host numbers them. */
export function descendantsOf(pid: number): readonly number[] {
  const children = (parent: number): readonly number[] => {
    try {
      const tasks = readdirSync(`/proc/${parent}/task`);
      return tasks.flatMap((task) => {
        const text = readFileSync(`/proc/${parent}/task/${task}/children`, "utf8");
        return text.split(" ").filter(Boolean).map(Number);
      });
    } catch {
      return []; // it has just ended
    }
  };
  return children(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

export function findProcess(upPid: number, argument: string): number {
  for (const pid of descendantsOf(upPid)) {
    if (commandLine(pid).split("\0").includes(argument)) return pid;
  }
  throw new Error(`no process below ${upPid} was started with ${argument}`);
}

/**
 * What was counted past the sidecars of all that runs in a mesh, as `around 3 in client-0.default`.
 * Asked of network namespaces, not of sidecars: one of these may just be starting again.
 */
export async function packetsPastSidecars(
  upPid: number,
  { mode, provokes = [] }: MeshSetup,
): Promise<readonly string[]> {
  if (mode === "explicit") return [];
  const members = new Map<string, number>();
  const names = new Map<string, string>();
  for (const pid of descendantsOf(upPid)) {
    const namespace = networkOf(pid);
    if (namespace === undefined || namespace === networkOf(upPid)) continue;
    // The first of an instance stands in the mesh's user namespace; an application's own may do nothing.
    if (!members.has(namespace)) members.set(namespace, pid);
    const name = /\/i\/([^/]+)\/options\.json\0/.exec(commandLine(pid))?.[1];
    if (name !== undefined) names.set(namespace, name);
  }
  const found = await Promise.all(
    [...members].map(async ([namespace, pid]) => {
      const counters = await readCounters(pid).catch((thrown: unknown): Counters => {
        if (networkOf(pid) !== namespace) return {}; // its last process has just ended
        throw thrown;
      });
      return Object.values(captureCounters)
        .filter((counter) => !provokes.includes(counter) && (counters[counter] ?? 0) > 0)
        .map(
          (counter) => `${counter} ${counters[counter]} in ${names.get(namespace) ?? namespace}`,
        );
    }),
  );
  return found.flat();
}

/** A process's network namespace; undefined when it has ended. */
function networkOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it has just ended
  }
}

export async function readCounters(pid: number): Promise<Counters> {
  const enter = process.getuid?.() === 0 ? [] : ["--user", "--preserve-credentials"];
  const words = ["--target", String(pid), "--net", ...enter, "--"];
  const { stdout } = await run("nsenter", [...words, "nft", "-j", "list", "counters"]);
  const listed: unknown = JSON.parse(stdout);
  assert(typeof listed === "object" && listed !== null && "nftables" in listed);
  assert(Array.isArray(listed.nftables));
  const counters: [string, number][] = listed.nftables.flatMap(
    (one: { counter?: { name: string; packets: number } }) =>
      one.counter === undefined ? [] : [[one.counter.name, one.counter.packets] as const],
  );
  return Object.fromEntries(counters);
}
