/**
 * Starts a mesh for a test as a user would, by `heddle up`, from files given in the test: as root,
 * as an unprivileged user, or in explicit mode; with Heddle's own processes or with stand-ins.
 * Everything it makes is below a temporary folder and ends with `stop()`.
 */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import {
  applicationCommand,
  collect,
  type Ready,
  readyLine,
  spawnUp,
  unprivileged,
  type UpPaths,
} from "./mesh-command.ts";
import {
  type Counters,
  descendantsOf,
  findProcess,
  packetsPastSidecars,
  type PassedCounter,
  readCounters,
} from "./mesh-processes.ts";

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

/** A path of the console, asked over TCP with its token. */
export async function askConsole(mesh: TestMesh, path: string): Promise<Response> {
  const url = new URL(path, mesh.consoleUrl);
  const token = new URL(mesh.consoleUrl).hash.replace("#token=", "");
  return await fetch(url, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(30_000),
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
  maxMs = 30_000,
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
