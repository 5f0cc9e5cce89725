/**
 * Starts a mesh for a test as a user would, by `heddle up`, from files given in the test: as root,
 * as an unprivileged user, or in explicit mode; with Heddle's own processes or with stand-ins.
 * Everything it makes is below a temporary folder and ends with `stop()`.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { captureCounters } from "../../../src/local/capture/rules.ts";
import { takeDetours } from "../../../src/local/place/application-script.ts";
import { detoursTo, programPlaces } from "../../../src/local/place/detours.ts";

export type MeshMode = "root" | "rootless" | "explicit";

/** The modes that this user can start; CI runs the suite as root and as somebody else. */
export const meshModes: readonly MeshMode[] =
  process.getuid?.() === 0 ? ["root", "rootless", "explicit"] : ["rootless", "explicit"];

export const capturingModes: readonly MeshMode[] = meshModes.filter((mode) => mode !== "explicit");

export interface MeshSetup {
  readonly mode: MeshMode;
  /** `stand-in`: the processes of stand-in.ts, for tests of what surrounds them. */
  readonly processes: "heddle" | "stand-in";
  readonly dataPlane?: "heddle" | "envoy";
  /**
   * Name below the mesh's folder → text; `heddle.yaml` among them. `{exec}` is the exec server,
   * `{traffic}` the application of the traffic suite.
   */
  readonly files: Readonly<Record<string, string>>;
  readonly readyMaxMs?: number;
  /** The mesh counts as started when `heddle up` says so, whatever is not ready then. */
  readonly isPartly?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
  /** What `heddle up` is started by, as the user who runs it: a program and its first arguments. */
  readonly wrapper?: readonly string[];
  /** Further arguments of `heddle up`. */
  readonly upArguments?: readonly string[];
  /**
   * Counters of packets past a sidecar that the tests of this mesh raise on purpose; `stop()` fails
   * where any other is not 0.
   */
  readonly provokes?: readonly PassedCounter[];
}

/** What the kernel counts of packets that a sidecar did not send: see the capture rules. */
export type PassedCounter = (typeof captureCounters)[keyof typeof captureCounters];

export interface TestMesh extends AsyncDisposable {
  readonly mode: MeshMode;
  readonly directory: string;
  readonly stateDir: string;
  /** With the console's token after the hash. */
  readonly consoleUrl: string;
  readonly gatewayUrls: readonly string[];
  /** From the command's start until everything was ready. */
  readonly readyMs: number;
  /** The process of `heddle up`, and the pid of the supervisor's `unshare` (or of itself). */
  readonly upPid: number;
  readonly supervisorPid: number;
  /** What `heddle up` has printed. */
  output(): string;
  /** Everything `heddle up` has started, as the host sees it. */
  processes(): readonly number[];
  workload(instance: string, namespace?: string): TestWorkload;
  /** Writes a file of the mesh's folder as editors do: beside it, then renamed. */
  write(name: string, text: string): void;
  log(name: string): string;
  /** Ends it, and fails when the kernel has counted packets past a sidecar. */
  stop(): Promise<void>;
}

export type Counters = Readonly<Record<string, number>>;

export interface TestWorkload {
  /** Runs a shell script as the application; needs a workload whose command is `{exec}`. */
  exec(script: string): Promise<ExecResult>;
  /** Tells the application what to do; needs one whose command is `{traffic}`. */
  call(request: object): Promise<unknown>;
  /** The nft counters of its network namespace: `dropped`, `around`, `undeclared`. */
  counters(): Promise<Counters>;
  readonly sidecarPid: number;
}

export interface ExecResult {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

const root = dirname(dirname(dirname(import.meta.dirname)));
const unprivileged = 1000;
const run = promisify(execFile);

export async function startMesh(setup: MeshSetup): Promise<TestMesh> {
  const base = mkdtempSync(join(tmpdir(), "heddle-"));
  const [directory, socketDir, stateDir] = ["mesh", "exec", "state/m"].map((name) =>
    join(base, name),
  );
  assert(directory !== undefined && socketDir !== undefined && stateDir !== undefined);
  for (const path of [base, directory, socketDir]) mkdirSync(path, { recursive: true });
  chmodSync(base, 0o755);
  chmodSync(socketDir, 0o777);
  const drops = setup.mode === "rootless" && process.getuid?.() === 0;
  mkdirSync(join(base, "state"));
  if (drops) chownSync(join(base, "state"), unprivileged, unprivileged);
  const fill = (text: string): string =>
    text
      .replaceAll("{exec}", applicationCommand("exec-server.mjs", socketDir))
      .replaceAll("{traffic}", applicationCommand("traffic-app.mjs", socketDir));
  for (const [name, text] of Object.entries(setup.files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), fill(text));
  }
  const child = spawnUp(setup, { directory, stateDir, drops });
  const output = collect(child);
  const startMs = performance.now();
  try {
    const ready = await readyLine(child, output, setup);
    return makeMesh({
      setup,
      base,
      directory,
      socketDir,
      fill,
      stateDir,
      child,
      output,
      ready,
      startMs,
    });
  } catch (error) {
    child.kill("SIGKILL");
    rmSync(base, { recursive: true, force: true });
    throw error;
  }
}

/** The words of a command, as they stand in a YAML list. */
function applicationCommand(file: string, socketDir: string): string {
  return `${process.execPath}, ${join(import.meta.dirname, file)}, ${socketDir}`;
}

interface UpPaths {
  readonly directory: string;
  readonly stateDir: string;
  readonly drops: boolean;
}

function spawnUp(setup: MeshSetup, { directory, stateDir, drops }: UpPaths): ChildProcess {
  const entry =
    setup.processes === "heddle"
      ? join(root, "src/cli/main.ts")
      : join(import.meta.dirname, "stand-in.ts");
  const mode = setup.mode === "explicit" ? "explicit" : "namespaces";
  const command = [
    ...(drops ? dropping(stateDir) : []),
    ...(setup.wrapper ?? []),
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    entry,
    "up",
    directory,
    `--mode=${mode}`,
    `--state-dir=${stateDir}`,
    "--output=json",
    `--proxy=${setup.dataPlane ?? "heddle"}`,
    ...(setup.upArguments ?? []),
  ];
  return spawn(command[0] ?? "", command.slice(1), {
    stdio: ["ignore", "pipe", "pipe"],
    // Nothing is to be written outside the checkout.
    env: { ...process.env, HOME: join(root, ".cache", "home"), ...setup.environment },
  });
}

/**
 * Words that make a command run without root: also where it may not enter the folder of this checkout,
 * as in root's home.
 */
function dropping(stateDir: string): readonly string[] {
  const detours = detoursTo([root, ...programPlaces(process.env["PATH"] ?? "")], {
    uid: unprivileged,
    gid: unprivileged,
  });
  // Not found by the PATH: a test may put another program there.
  const script = ["set -e", ...takeDetours(detours, `${stateDir}.workshop`), 'exec "$@"'];
  const way =
    detours.length === 0
      ? []
      : ["/usr/bin/unshare", "--mount", "--", "sh", "-c", script.join("\n"), "-"];
  return [
    ...way,
    "setpriv",
    `--reuid=${unprivileged}`,
    `--regid=${unprivileged}`,
    "--clear-groups",
  ];
}

/** A path of the console, asked over TCP with its token. */
export async function askConsole(mesh: TestMesh, path: string): Promise<Response> {
  const url = new URL(path, mesh.consoleUrl);
  const token = new URL(mesh.consoleUrl).hash.replace("#token=", "");
  return await fetch(url, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(5000),
  });
}

interface Ready {
  readonly ready: boolean;
  readonly notReady: readonly string[];
  readonly consoleUrl: string;
  readonly gatewayUrls: readonly string[];
  readonly pid: number;
}

function collect(child: ChildProcess): { text: string; onText: () => void } {
  const output = { text: "", onText: () => {} };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output.text += text;
      output.onText();
    });
  }
  return output;
}

async function readyLine(
  child: ChildProcess,
  output: { text: string; onText: () => void },
  { readyMaxMs: maxMs = 60_000, isPartly = false }: MeshSetup,
): Promise<Ready> {
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(`not ready in ${maxMs} ms`), maxMs);
    const wanted = isPartly ? /^\{.*"ready":.*\n/m : /^\{.*"ready":true.*\n/m;
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`heddle up: ${why}\n${output.text}`));
    };
    child.once("exit", (code, signal) => fail(`ended with ${code ?? signal}`));
    output.onText = () => {
      const line = wanted.exec(output.text)?.[0];
      if (line === undefined) return;
      clearTimeout(timer);
      const ready: Ready = JSON.parse(line);
      resolve(ready);
    };
  });
}

interface Started extends Omit<UpPaths, "drops"> {
  readonly setup: MeshSetup;
  readonly base: string;
  readonly socketDir: string;
  /** Replaces what stands for commands in files. */
  readonly fill: (text: string) => string;
  readonly child: ChildProcess;
  readonly output: { readonly text: string };
  readonly ready: Ready;
  readonly startMs: number;
}

function makeMesh(started: Started): TestMesh {
  const { setup, base, directory, stateDir, child, ready, socketDir } = started;
  const upPid = child.pid ?? 0;
  const stop = async (): Promise<void> => {
    let passed: readonly string[] = [];
    // A mesh that is dead already was killed on purpose: its namespaces and their counters are gone.
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      try {
        passed = await packetsPastSidecars(upPid, setup);
      } finally {
        child.kill("SIGTERM");
        await ended;
      }
    }
    rmSync(base, { recursive: true, force: true });
    assert.deepEqual(passed, [], "packets have gone past a sidecar");
  };
  const socketOf = async (instance: string): Promise<string> => {
    const socket = join(socketDir, `${instance}.sock`);
    await eventually(`${instance} listens`, () => existsSync(socket));
    return socket;
  };
  return {
    mode: setup.mode,
    directory,
    stateDir,
    consoleUrl: ready.consoleUrl,
    gatewayUrls: ready.gatewayUrls,
    readyMs: performance.now() - started.startMs,
    upPid,
    supervisorPid: ready.pid,
    output: () => started.output.text,
    processes: () => descendantsOf(upPid),
    workload: (instance, namespace = "default") => {
      const options = join(stateDir, "i", `${instance}.${namespace}`, "options.json");
      return {
        exec: async (script) => {
          const answer = await askWhenItListens(await socketOf(instance), script);
          // A script may end the application that runs it.
          const lost: ExecResult = { code: "lost", stdout: "", stderr: "" };
          return answer === "" ? lost : JSON.parse(answer);
        },
        call: async (request) => {
          const question = JSON.stringify(request);
          return JSON.parse(await askWhenItListens(await socketOf(instance), question));
        },
        counters: async () => await readCounters(findProcess(upPid, options)),
        get sidecarPid() {
          return findProcess(upPid, options);
        },
      };
    },
    write(name, text) {
      const path = join(directory, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(`${path}.new`, started.fill(text));
      renameSync(`${path}.new`, path);
    },
    log: (name) => readFileSync(join(stateDir, "logs", name), "utf8"),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

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

function findProcess(upPid: number, argument: string): number {
  for (const pid of descendantsOf(upPid)) {
    if (commandLine(pid).split("\0").includes(argument)) return pid;
  }
  throw new Error(`no process below ${upPid} was started with ${argument}`);
}

/**
 * What was counted past the sidecars of all that runs in a mesh, as `around 3 in client-0.default`.
 * Asked of network namespaces, not of sidecars: one of these may just be starting again.
 */
async function packetsPastSidecars(
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

async function readCounters(pid: number): Promise<Counters> {
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

/** A socket is there a moment before its application listens. */
async function askWhenItListens(path: string, question: string): Promise<string> {
  const { text } = await eventually(`${path} listens`, async () => {
    try {
      return { text: await askOver(path, question) };
    } catch (thrown) {
      if (thrown instanceof Error && "code" in thrown && thrown.code === "ECONNREFUSED") return;
      throw thrown;
    }
  });
  return text;
}

async function askOver(path: string, question: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      text += chunk;
    });
    socket.on("error", reject);
    socket.on("end", () => resolve(text));
    socket.end(question);
  });
}

/** Asks again until the answer is truthy; fails with `what` after `maxMs`. */
export async function eventually<Value>(
  what: string,
  ask: () => Value | Promise<Value>,
  maxMs = 10_000,
): Promise<Exclude<Value, undefined | null | false>> {
  const end = performance.now() + maxMs;
  for (;;) {
    const value = await ask();
    if (isAnswer(value)) return value;
    if (performance.now() > end) throw new Error(`${what}: not within ${maxMs} ms`);
    await new Promise((resolve) => {
      setTimeout(resolve, 25);
    });
  }
}

function isAnswer<Value>(value: Value): value is Exclude<Value, undefined | null | false> {
  return value !== undefined && value !== null && value !== false;
}
