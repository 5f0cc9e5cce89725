/**
 * A cgroup with little memory and little processor time, of version 1 or 2, for processes of a test.
 * Undefined where groups may not be made: without root, or where /sys/fs/cgroup is read-only.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface LimitedGroup {
  /** For a shell: it moves itself, and so what it becomes. */
  readonly enter: string;
  /** A process that runs already, with all its threads. */
  add(pid: number): void;
  /** The most that was ever used, in bytes, page cache included. */
  peakBytes(): number;
  /** How often the kernel has ended a process for its memory. */
  kills(): number;
  /** How often the processes had to wait for processor time. */
  throttled(): number;
  /** When all its processes have ended. */
  remove(): void;
}

export interface Limits {
  readonly memoryBytes: number;
  /** Cores: 0.2 is 20 ms of each 100. */
  readonly cpus: number;
  /** Of the kernel's account of them; a short one makes shorter waits. */
  readonly periodUs?: number;
  /** What it may take it gets, also where the rest of the machine's work has to wait for that. */
  readonly isReserved?: boolean;
}

const usualPeriodUs = 100_000;
const root = "/sys/fs/cgroup";
let made = 0;

export function makeLimitedGroup(limits: Limits): LimitedGroup | undefined {
  const name = `heddle-test-${process.pid}-${Date.now()}-${++made}`;
  try {
    return existsSync(join(root, "memory")) ? makeOne(name, limits) : makeTwo(name, limits);
  } catch {
    return undefined; // not ours to make
  }
}

function makeOne(name: string, limits: Limits): LimitedGroup {
  const { memoryBytes, cpus, periodUs = usualPeriodUs, isReserved = false } = limits;
  const memory = join(root, "memory", name);
  const cpu = join(root, "cpu", name);
  for (const folder of [memory, cpu]) mkdirSync(folder);
  writeFileSync(join(memory, "memory.limit_in_bytes"), String(memoryBytes));
  writeFileSync(join(cpu, "cpu.cfs_period_us"), String(periodUs));
  writeFileSync(join(cpu, "cpu.cfs_quota_us"), String(cpus * periodUs));
  if (isReserved) writeFileSync(join(cpu, "cpu.shares"), "262144");
  return {
    enter: `echo $$ > ${memory}/cgroup.procs && echo $$ > ${cpu}/cgroup.procs`,
    add: (pid) => {
      for (const folder of [memory, cpu]) writeFileSync(join(folder, "cgroup.procs"), String(pid));
    },
    peakBytes: () => numberIn(join(memory, "memory.max_usage_in_bytes")),
    kills: () => numberIn(join(memory, "memory.oom_control"), "oom_kill"),
    throttled: () => numberIn(join(cpu, "cpu.stat"), "nr_throttled"),
    remove: () => {
      for (const folder of [memory, cpu]) rmdirSync(folder);
    },
  };
}

function makeTwo(name: string, limits: Limits): LimitedGroup {
  const { memoryBytes, cpus, periodUs = usualPeriodUs, isReserved = false } = limits;
  const group = join(root, name);
  mkdirSync(group);
  writeFileSync(join(group, "memory.max"), String(memoryBytes));
  writeFileSync(join(group, "cpu.max"), `${cpus * periodUs} ${periodUs}`);
  if (isReserved) writeFileSync(join(group, "cpu.weight"), "10000");
  return {
    enter: `echo $$ > ${group}/cgroup.procs`,
    add: (pid) => writeFileSync(join(group, "cgroup.procs"), String(pid)),
    peakBytes: () => numberIn(join(group, "memory.peak")),
    kills: () => numberIn(join(group, "memory.events"), "oom_kill"),
    throttled: () => numberIn(join(group, "cpu.stat"), "nr_throttled"),
    remove: () => rmdirSync(group),
  };
}

function numberIn(file: string, name = ""): number {
  const text = readFileSync(file, "utf8");
  const found = name === "" ? text : new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1];
  return Number(found ?? 0);
}
