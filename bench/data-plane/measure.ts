/** Drives one proxy from the other core, and reads from /proc what its processes used meanwhile. */
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

import { type ProcessUse, useOf } from "../../src/cli/bench/mesh-processes.ts";
import { buildGhz } from "../../tools/build-ghz.ts";

export interface Target {
  readonly port: number;
  readonly pid: number;
  /** With the certificate of the benchmark. */
  readonly folder: string;
}

export interface Measurement {
  /** Requests, connections, megabytes: what the scenario counts. */
  readonly units: number;
  readonly perSecond: number;
  /** CPU time of the proxy's processes, for one unit. */
  readonly cpuUs: number;
  readonly residentMb: number;
  readonly anonymousMb: number;
  readonly failures: number;
  readonly delaysMs?: Readonly<Record<"p50" | "p99" | "p999" | "max", number>> | undefined;
  /** Share of handshakes that took up a session. */
  readonly resumed?: number;
}

export interface WrkLoad {
  readonly seconds: number;
  readonly connections: number;
  readonly path: string;
  /** Each request on a connection of its own. */
  readonly closes?: boolean;
  /** Large answers: what was read counts, of those that had not ended in time as well. */
  readonly unit?: "request" | "MB";
}

export interface GhzLoad {
  readonly seconds: number;
  readonly connections: number;
  /** Calls in a second, at fixed times. */
  readonly rate: number;
  readonly call: { readonly method: string; readonly request: object };
}

/** What ghz says; times in nanoseconds. */
interface GhzReport {
  readonly count: number;
  readonly rps: number;
  readonly slowest: number;
  readonly statusCodeDistribution: Readonly<Record<string, number>>;
  readonly latencyDistribution:
    | readonly { readonly percentage: number; readonly latency: number }[]
    | null;
}

type Used = Pick<Measurement, "cpuUs" | "residentMb" | "anonymousMb">;

const run = promisify(execFile);
/** Of load and application. */
export const loadCore = "1";

export async function runWrk(target: Target, load: WrkLoad): Promise<Measurement> {
  const { connections, seconds, path, closes = false, unit = "request" } = load;
  const options = ["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "10s", "--latency"];
  options.push("-s", join(import.meta.dirname, "load/percentile.lua"));
  if (closes) options.push("-H", "Connection: close");
  const url = `http://127.0.0.1:${target.port}${path}`;
  const before = runningUse(target.pid);
  const { stdout } = await run("taskset", ["-c", loadCore, "wrk", ...options, url]);
  const { cpuUs, ...memory } = usedSince(target.pid, before);
  const took = /(\d+) requests in ([\d.]+m?s|[\d.]+m), ([\d.]+)([KMGT]?)B read/.exec(stdout);
  const units = unit === "MB" ? megabytesOf(took?.[3], took?.[4]) : Number(took?.[1] ?? 0);
  if (units === 0) throw new Error(`wrk on port ${target.port}: ${stdout}`);
  const sum = (pattern: RegExp): number =>
    (pattern.exec(stdout)?.slice(1) ?? []).reduce((total, count) => total + Number(count), 0);
  return {
    ...memory,
    units,
    perSecond:
      unit === "MB" ? units / seconds : Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1] ?? 0),
    cpuUs: cpuUs / units,
    failures:
      sum(/Non-2xx or 3xx responses: (\d+)/) +
      // Reads end where a connection was to be closed: no failure there.
      (closes ? 0 : sum(/connect (\d+), read (\d+), write (\d+), timeout (\d+)/)),
    delaysMs: {
      p50: percentile(stdout, "50%"),
      p99: percentile(stdout, "99%"),
      p999: percentile(stdout, "99.9%"),
      max: milliseconds(/Latency\s+\S+\s+\S+\s+(\S+)/.exec(stdout)?.[1]),
    },
  };
}

interface H2Load {
  readonly seconds: number;
  readonly connections: number;
  /** On each of them, at once. */
  readonly streams: number;
  readonly protocol?: "HTTP/1.1" | "HTTP/2";
  /** Instead of `GET /`. */
  readonly call?: GrpcCall;
}

/** A call of gRPC as h2load sends it, which says of answers their HTTP status and how many bytes they have. */
export interface GrpcCall {
  readonly path: string;
  /** With the request's message in it, framed. */
  readonly bodyFile: string;
  /** Of an answer's frames of data: an error of gRPC has fewer. */
  readonly answerBytes: number;
}

/** Requests per second of the first run, by load and port. */
const rates = new Map<string, number>();

/**
 * HTTP/1.1, or HTTP/2 that is known beforehand. The first run of a load takes its time; later ones ask as much as that
 * comes to, and end when all is answered: requests that are broken off cost the proxies the connections
 * behind them, which the next run would have to make again.
 */
export async function runH2load(target: Target, load: H2Load): Promise<Measurement> {
  const { connections, streams, seconds } = load;
  const protocol = load.protocol ?? "HTTP/2";
  const key = `${target.port} ${connections} ${streams} ${protocol} ${load.call?.path ?? ""}`;
  const rate = rates.get(key);
  const count = (share: number): string => `-n${Math.ceil((rates.get(key) ?? 0) * share) + 1000}`;
  if (rate !== undefined) return await h2load(target, load, count(seconds));
  const first = await h2load(target, load, `-D${seconds}`);
  rates.set(key, first.perSecond);
  return await h2load(target, load, count(0.2));
}

async function h2load(target: Target, load: H2Load, amount: string): Promise<Measurement> {
  const { connections, streams, call } = load;
  const options = ["-t1", `-c${connections}`, `-m${streams}`, amount];
  if (load.protocol === "HTTP/1.1") options.push("--h1");
  if (call !== undefined) {
    options.push("-H", "content-type: application/grpc", "-H", "te: trailers");
    options.push("-d", call.bodyFile);
  }
  const url = `http://127.0.0.1:${target.port}${call?.path ?? "/"}`;
  const before = runningUse(target.pid);
  const { stdout } = await run("taskset", ["-c", loadCore, "h2load", ...options, url]);
  const { cpuUs, ...memory } = usedSince(target.pid, before);
  const count = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? 0);
  const units = count(/(\d+) succeeded/);
  if (units === 0) throw new Error(`h2load on port ${target.port}: ${stdout}`);
  const wholeAnswers =
    call === undefined ? units : Math.floor(count(/\((\d+)\) data/) / call.answerBytes);
  return {
    ...memory,
    units,
    perSecond: Number(/([\d.]+) req\/s/.exec(stdout)?.[1] ?? 0),
    cpuUs: cpuUs / units,
    failures:
      count(/(\d+) failed/) +
      count(/(\d+) errored/) +
      count(/(\d+) timeout/) +
      Math.max(0, units - wholeAnswers),
    delaysMs: {
      p50: Number.NaN,
      p99: Number.NaN,
      p999: Number.NaN,
      max: milliseconds(/time for request:\s+\S+\s+(\S+)/.exec(stdout)?.[1]),
    },
  };
}

/** gRPC: ghz counts what ended with OK. */
export async function runGhz(target: Target, load: GhzLoad): Promise<Measurement> {
  const { connections, rate, seconds, call } = load;
  const proto = join(import.meta.dirname, "grpc/test.proto");
  const options = [
    "--insecure",
    "--proto",
    proto,
    "-O",
    "json",
    "-d",
    JSON.stringify(call.request),
  ];
  options.push("--call", `grpc.testing.TestService/${call.method}`, "--duration-stop", "wait");
  // Each caller waits for its answer: as many as a second of calls needs when one takes 50 ms.
  options.push(
    "--rps",
    String(rate),
    "-c",
    String(rate / 20),
    "--connections",
    String(connections),
  );
  options.push("-z", `${seconds}s`, `127.0.0.1:${target.port}`);
  const before = runningUse(target.pid);
  // It tells every single call, some 70 bytes each.
  const output = { maxBuffer: 256 * 1024 * 1024 };
  const { stdout } = await run("taskset", ["-c", loadCore, ghz(), ...options], output);
  const { cpuUs, ...memory } = usedSince(target.pid, before);
  const said: GhzReport = JSON.parse(stdout);
  const units = said.statusCodeDistribution["OK"] ?? 0;
  if (units === 0) throw new Error(`ghz on port ${target.port}: ${stdout.slice(0, 1000)}`);
  const delay = (share: number): number => {
    const found = said.latencyDistribution?.find(({ percentage }) => percentage === share);
    return found === undefined ? Number.NaN : found.latency / 1e6;
  };
  return {
    ...memory,
    units,
    perSecond: said.rps,
    cpuUs: cpuUs / units,
    failures: said.count - units,
    delaysMs: { p50: delay(50), p99: delay(99), p999: Number.NaN, max: said.slowest / 1e6 },
  };
}

let ghzProgram: string | undefined;

/** Built when it is first needed. */
function ghz(): string {
  return (ghzProgram ??= buildGhz((command, args) => {
    execFileSync(command, [...args], { stdio: ["ignore", "ignore", "inherit"] });
  }));
}

/** Runs one of `load/`, which prints a line of JSON. */
export async function runLoad(
  target: Target,
  program: string,
  args: readonly string[],
): Promise<Used & { readonly result: Readonly<Record<string, number>> }> {
  const file = join(import.meta.dirname, "load", program);
  const before = runningUse(target.pid);
  const { stdout } = await run("taskset", ["-c", loadCore, process.execPath, file, ...args]);
  return { ...usedSince(target.pid, before), result: JSON.parse(stdout) };
}

function usedSince(pid: number, before: ProcessUse): Used {
  const { cpuMs, residentBytes, anonymousBytes } = runningUse(pid);
  return {
    cpuUs: (cpuMs - before.cpuMs) * 1000,
    residentMb: Math.round(residentBytes / 2 ** 20),
    anonymousMb: Math.round(anonymousBytes / 2 ** 20),
  };
}

/** Throws where the process has ended: its figures would be zeros. */
function runningUse(pid: number): ProcessUse {
  const use = useOf(pid);
  if (use.residentBytes === 0) throw new Error(`process ${pid} has ended`);
  return use;
}

function percentile(output: string, name: string): number {
  return milliseconds(new RegExp(`${name}\\s+(\\S+)`).exec(output)?.[1]);
}

/** wrk's `812.00us`, `5.35ms`, `1.20s`. */
/** As wrk writes sizes: binary, `1.12G` is 1147 of them. */
function megabytesOf(amount: string | undefined, scale: string | undefined): number {
  const factor = { "": 2 ** -20, K: 2 ** -10, M: 1, G: 2 ** 10, T: 2 ** 20 }[scale ?? ""] ?? 0;
  return Number(amount ?? 0) * factor;
}

function milliseconds(text: string | undefined): number {
  const parsed = /^([\d.]+)(us|ms|s)$/.exec(text ?? "");
  const factor = { us: 0.001, ms: 1, s: 1000 }[parsed?.[2] ?? ""] ?? Number.NaN;
  return Number(parsed?.[1]) * factor;
}
