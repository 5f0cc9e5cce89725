/**
 * What the security tests share: which modes and data planes they run on, a workload that keeps every
 * byte it receives, and eyes on the links between the workloads.
 */
import assert from "node:assert/strict";
import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";

import { capturingModes, eventually, meshModes, type MeshMode, type TestMesh } from "./mesh.ts";
import { descendantsOf } from "./mesh-processes.ts";

export type DataPlane = "heddle" | "envoy";

export interface SecurityCase {
  readonly mode: MeshMode;
  readonly dataPlane: DataPlane;
  readonly title: string;
}

const dataPlanes: readonly DataPlane[] = ["heddle", "envoy"];

/** Every mode this user can start, on both data planes. */
export const securityCases: readonly SecurityCase[] = casesOf(meshModes);

/** Those in which the kernel keeps workloads apart. */
export const capturedCases: readonly SecurityCase[] = casesOf(capturingModes);

function casesOf(modes: readonly MeshMode[]): readonly SecurityCase[] {
  return modes.flatMap((mode) =>
    dataPlanes.map((dataPlane) => ({ mode, dataPlane, title: `${mode}, ${dataPlane}` })),
  );
}

/** Words of a `command` in heddle.yaml: the echo application on these ports, `http:8080 tcp:9000`. */
export function echoCommand(ports: string): string {
  return `["${process.execPath}", "${join(import.meta.dirname, "echo-application.mjs")}", "${ports}", {exec}]`;
}

/** Everything that ever reached the application of an instance, byte for byte (latin1). */
export function receivedBy(mesh: TestMesh, instance: string): string {
  const file = join(dirname(mesh.directory), "exec", `${instance}.received`);
  return existsSync(file) ? readFileSync(file, "latin1") : "";
}

/** The supervisor's process: PID 1 inside, in the network namespace that holds the bridge. */
export function insidePid(mesh: TestMesh): number {
  const [first] = descendantsOf(mesh.supervisorPid);
  assert(first !== undefined, "the supervisor has no child");
  return first;
}

/** Words that enter the network namespace of `pid`, as root or as the owner of its user namespace. */
export function enterNetworkOf(pid: number): readonly string[] {
  const enter = process.getuid?.() === 0 ? [] : ["--user", "--preserve-credentials"];
  return ["nsenter", "--target", String(pid), "--net", ...enter, "--"];
}

export interface LinkCapture {
  /** Ends it and returns every packet's bytes (latin1). */
  stop(): Promise<string>;
}

/** Records what passes on any link of the network namespace of `pid`, from when it resolves. */
export async function captureLinks(pid: number): Promise<LinkCapture> {
  const tcpdump = await startTcpdump(pid, ["-U", "-B", "16384", "-w", "-"]);
  const chunks: Buffer[] = [];
  tcpdump.child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  return {
    async stop() {
      const last = await sendLast(pid);
      const seen = (): string => Buffer.concat(chunks).toString("latin1");
      await eventually("the last packet is captured", () => seen().includes(last));
      await tcpdump.end();
      return seen();
    },
  };
}

export interface LinkRecording {
  /** Ends it; which strings of `length` bytes that begin with `prefix` were in any packet. */
  stop(sought: Sought): Promise<ReadonlySet<string>>;
  /** Ends it unread. Does nothing after `stop()`. */
  abandon(): void;
}

export interface Sought {
  readonly prefix: string;
  readonly length: number;
}

const recordingMaxBytes = 2 ** 30;

/**
 * Records every link of a mesh for long: into a file of the mesh's own folder, which ends tcpdump, and
 * with it the test, when it grows beyond a gigabyte.
 */
export async function recordLinks(mesh: TestMesh): Promise<LinkRecording> {
  const pid = insidePid(mesh);
  const file = join(dirname(mesh.directory), "links.pcap");
  const limit = ["prlimit", `--fsize=${recordingMaxBytes}`, "--"];
  const tcpdump = await startTcpdump(pid, ["-B", "65536", "-w", file], limit);
  return {
    async stop(sought) {
      const before = statSync(file).size;
      const last = await sendLast(pid);
      const isLast = { prefix: last, length: last.length };
      await eventually("the last packet is recorded", async () => {
        tcpdump.child.kill("SIGUSR2"); // tcpdump writes what it holds
        return (await findInFile(file, isLast, before)).size > 0;
      });
      await tcpdump.end();
      return await findInFile(file, sought);
    },
    abandon() {
      tcpdump.child.kill("SIGKILL");
    },
  };
}

/** What stands in a file, read in pieces from a place in it. */
async function findInFile(
  file: string,
  { prefix, length }: Sought,
  start = 0,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  let rest = Buffer.alloc(0);
  const pieces: AsyncIterable<Buffer> = createReadStream(file, {
    start,
    highWaterMark: 1_048_576,
  });
  for await (const piece of pieces) {
    const held = Buffer.concat([rest, piece]);
    for (let at = held.indexOf(prefix); at >= 0; at = held.indexOf(prefix, at + 1)) {
      if (at + length <= held.length) found.add(held.toString("latin1", at, at + length));
    }
    rest = held.subarray(-(length - 1));
  }
  return found;
}

interface Tcpdump {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  /** Ends it, and fails when packets were lost. */
  end(): Promise<void>;
}

async function startTcpdump(
  pid: number,
  options: readonly string[],
  limit: readonly string[] = [],
): Promise<Tcpdump> {
  const user = process.getuid?.() === 0 ? ["-Z", "root"] : [];
  const words = [...limit, ...enterNetworkOf(pid), "tcpdump", "-i", "any", "-s", "0"];
  const child = spawn(words[0] ?? "", [...words.slice(1), ...options, ...user], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
  });
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes("listening on")) resolve();
    });
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`tcpdump: ${said}`)));
  });
  return {
    child,
    async end() {
      child.kill("SIGINT");
      await ended;
      assert.match(said, /\b0 packets dropped by kernel/, said);
    },
  };
}

/**
 * What the kernel still holds is lost when tcpdump ends: a last packet, whose content is returned, says
 * that all before it is there.
 */
async function sendLast(pid: number): Promise<string> {
  const last = `END-OF-CAPTURE-${randomUUID()}`;
  const send = `require("dgram").createSocket("udp4").send("${last}",9,"127.0.0.1",()=>process.exit())`;
  const sender = [...enterNetworkOf(pid), process.execPath, "-e", send];
  await promisify(execFile)(sender[0] ?? "", sender.slice(1));
  return last;
}
