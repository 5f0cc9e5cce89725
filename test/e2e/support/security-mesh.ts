/**
 * What the security tests share: which modes and data planes they run on, a workload that keeps every
 * byte it receives, and eyes on the links between the workloads.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import {
  capturingModes,
  descendantsOf,
  eventually,
  meshModes,
  type MeshMode,
  type TestMesh,
} from "./mesh.ts";

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
  const words = [...enterNetworkOf(pid), "tcpdump"];
  const options = ["-i", "any", "-U", "-s", "0", "-B", "16384", "-w", "-"];
  if (process.getuid?.() === 0) options.push("-Z", "root");
  const child = spawn(words[0] ?? "", [...words.slice(1), ...options], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const chunks: Buffer[] = [];
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
  });
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
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
    async stop() {
      // What the kernel still holds is lost when it ends: a last packet says that all before it is here.
      const last = `END-OF-CAPTURE-${randomUUID()}`;
      const send = `require("dgram").createSocket("udp4").send("${last}",9,"127.0.0.1",()=>process.exit())`;
      const sender = [...enterNetworkOf(pid), process.execPath, "-e", send];
      await promisify(execFile)(sender[0] ?? "", sender.slice(1));
      const seen = (): string => Buffer.concat(chunks).toString("latin1");
      await eventually("the last packet is captured", () => seen().includes(last));
      child.kill("SIGINT");
      await ended;
      assert.match(said, /\b0 packets dropped by kernel/, said);
      return seen();
    },
  };
}
