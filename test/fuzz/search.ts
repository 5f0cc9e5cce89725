/** Runs the search of one codec in a process of its own, which puts its counters where modules load. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";

import { type Codec, codecs } from "./codecs.ts";

export interface Report {
  readonly seed: number;
  readonly inputs: number;
  readonly seconds: number;
  readonly branches: number;
  readonly taken: number;
  readonly missed: readonly string[];
  readonly failure?: { readonly why: string; readonly input: string };
}

/** Of a minute, or as long as that many inputs take: those of HTTP/2 are whole connections. */
export const inputsMin = 1_000_000;

/** Share of the branches that the search can see. */
export const takenMin = 0.95;

export { codecs };

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
