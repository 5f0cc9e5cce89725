/** Runs the search of one codec in a process of its own, which puts its counters where modules load. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";

import type { Codec } from "./codecs.ts";

export interface Report {
  readonly seed: number;
  readonly inputs: number;
  readonly seconds: number;
  readonly branches: number;
  readonly taken: number;
  readonly missed: readonly string[];
  readonly failure?: { readonly why: string; readonly input: string };
}

export const codecs: readonly Codec[] = ["http1", "tls-hello", "proxy-protocol"];
/** Of the branches that the search can see. */
export const takenMin: number = 0.95;

export async function search(
  codec: Codec,
  options: Readonly<Record<string, string>>,
): Promise<Report> {
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", "test/fuzz/main.ts", "--codec", codec, ...args],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  assert.equal(code, 0, `the search of ${codec} ended with code ${String(code)}`);
  return JSON.parse(output);
}
