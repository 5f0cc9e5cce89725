/** Reads from /proc what the processes of a mesh hold and have used. */
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessMemory {
  readonly pid: number;
  readonly kind: "sidecar" | "control" | "supervisor" | "outer" | "application";
  readonly residentMb: number;
  readonly anonymousMb: number;
  /** Processor time since its start, in milliseconds; Linux counts in steps of 10. */
  readonly cpuMs: number;
}

/** Every process below `pid`, itself included. */
export function memoryBelow(pid: number): readonly ProcessMemory[] {
  return treeOf(pid).flatMap((one) => memoryOf(one) ?? []);
}

export function formatMemory(processes: readonly ProcessMemory[]): string {
  const kinds = ["sidecar", "control", "supervisor", "outer", "application"] as const;
  const lines = kinds.flatMap((kind) => {
    const own = processes.filter((one) => one.kind === kind);
    if (own.length === 0) return [];
    const worst = (of: (one: ProcessMemory) => number): string =>
      Math.max(...own.map(of)).toFixed(1);
    const mean = (of: (one: ProcessMemory) => number): string =>
      (own.reduce((sum, one) => sum + of(one), 0) / own.length).toFixed(1);
    const resident = `${mean(({ residentMb }) => residentMb)} | ${worst(({ residentMb }) => residentMb)}`;
    const anonymous = `${mean(({ anonymousMb }) => anonymousMb)} | ${worst(({ anonymousMb }) => anonymousMb)}`;
    const cpu = mean(({ cpuMs }) => cpuMs);
    return [`| ${kind} | ${own.length} | ${resident} | ${anonymous} | ${cpu} |`];
  });
  const head =
    "| process | count | RSS MB, mean | most | anonymous MB, mean | most | CPU ms, mean |";
  return [head, "| --- | --- | --- | --- | --- | --- | --- |", ...lines].join("\n");
}

function treeOf(pid: number): readonly number[] {
  try {
    const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
    );
    return [pid, ...children.flatMap((child) => treeOf(Number(child)))];
  } catch {
    return []; // it has ended meanwhile
  }
}

function memoryOf(pid: number): ProcessMemory | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ");
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const megabytes = (field: string): number =>
      Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024;
    const residentMb = megabytes("VmRSS");
    if (residentMb === 0 || !command.includes("node")) return undefined;
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    const cpuMs = (Number(fields[11]) + Number(fields[12])) * 10;
    return { pid, kind: kindOf(command), residentMb, anonymousMb: megabytes("RssAnon"), cpuMs };
  } catch {
    return undefined;
  }
}

function kindOf(command: string): ProcessMemory["kind"] {
  if (/ sidecar --options /.test(command)) return "sidecar";
  if (/ control --options /.test(command)) return "control";
  if (/ supervise --options /.test(command)) return "supervisor";
  if (/main\.(js|ts) up /.test(command)) return "outer";
  return "application";
}
