/** Drives one proxy with wrk and reads from /proc what its processes used meanwhile. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

export interface Measurement {
  readonly requestsPerSecond: number;
  readonly p99: string;
  readonly cpuUsPerRequest: number;
  readonly residentMb: number;
  readonly failures: number;
}

const connections = 32;
/** Linux counts CPU time in ticks of 10 ms for everyone. */
const tickUs = 10_000;

export function measure(port: number, pid: number, seconds: number): Measurement {
  const before = ticksOf(pid);
  const load = `-c 1 wrk -t1 -c${connections} -d${seconds}s --latency http://127.0.0.1:${port}/`;
  const result = spawnSync("taskset", load.split(" "), { encoding: "utf8" });
  const ticks = ticksOf(pid) - before;
  const output = result.stdout;
  const requests = Number(/(\d+) requests in/.exec(output)?.[1] ?? 0);
  if (requests === 0) throw new Error(`wrk on port ${port}: ${output}${result.stderr}`);
  return {
    requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1] ?? 0),
    p99: /99%\s+(\S+)/.exec(output)?.[1] ?? "",
    cpuUsPerRequest: (ticks * tickUs) / requests,
    residentMb: treeOf(pid).reduce((sum, process) => sum + residentMb(process), 0),
    failures: Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0),
  };
}

function treeOf(pid: number): readonly number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );
  return [pid, ...children.flatMap((child) => treeOf(Number(child)))];
}

function ticksOf(pid: number): number {
  return treeOf(pid).reduce((sum, process) => {
    const fields = readFileSync(`/proc/${process}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return sum + Number(fields[11]) + Number(fields[12]);
  }, 0);
}

function residentMb(pid: number): number {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Math.round(Number(kilobytes ?? 0) / 1024);
}
