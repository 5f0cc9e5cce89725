/** The sidecar processes of a running mesh as the machine sees them: what they use, and their networks. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface ProcessUse {
  readonly cpuMs: number;
  readonly residentBytes: number;
  readonly anonymousBytes: number;
}

/** Of this machine's kernel, as /proc counts: all that Linux has been built with for decades. */
const ticksPerSecond = 100;

/** The process that runs the sidecar of an instance; undefined when there is none to be seen. */
export function sidecarPid(stateDir: string, instance: string): number | undefined {
  const options = join(stateDir, "i", instance, "options.json");
  return processes().find((pid) => {
    const words = read(`/proc/${pid}/cmdline`).split("\0");
    return words.includes("sidecar") && words.includes(options) && !isWrapper(words);
  });
}

/** `nsenter`, `setpriv` or a shell that runs it. */
function isWrapper(words: readonly string[]): boolean {
  return !/(^|\/)node$/.test(words[0] ?? "");
}

/** A process and all below it: Envoy is a child of its agent. */
export function useOf(pid: number): ProcessUse {
  const children = new Map<number, number[]>();
  for (const one of processes()) {
    const parent = Number(statOf(one)[1]);
    children.set(parent, [...(children.get(parent) ?? []), one]);
  }
  const all = [pid];
  for (const one of all) all.push(...(children.get(one) ?? []));
  let [cpuMs, residentBytes, anonymousBytes] = [0, 0, 0];
  for (const one of all) {
    const stat = statOf(one);
    cpuMs += ((Number(stat[11] ?? 0) + Number(stat[12] ?? 0)) * 1000) / ticksPerSecond;
    const status = read(`/proc/${one}/status`);
    residentBytes += kilobytesOf(status, "VmRSS");
    anonymousBytes += kilobytesOf(status, "RssAnon");
  }
  return { cpuMs, residentBytes, anonymousBytes };
}

/** From the state on: the fields before it may hold spaces. */
function statOf(pid: number): readonly string[] {
  const stat = read(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function kilobytesOf(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) * 1024;
}

function processes(): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // it has just ended, or is another user's
  }
}
