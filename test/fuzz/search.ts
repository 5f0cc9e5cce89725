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

export interface Expected {
  /** In a minute, with all else that runs beside. */
  readonly inputs: number;
  /** Share of the branches that the search can see. */
  readonly taken: number;
}

/** An input of HPACK is many blocks, one of HTTP/2 a connection: they take longer. */
export const expectedOf: Readonly<Record<Codec, Expected>> = {
  http1: { inputs: 1_000_000, taken: 0.95 },
  "tls-hello": { inputs: 1_000_000, taken: 0.95 },
  "proxy-protocol": { inputs: 1_000_000, taken: 0.95 },
  hpack: { inputs: 50_000, taken: 0.95 },
  http2: { inputs: 50_000, taken: 0.95 },
  "http2-client": { inputs: 50_000, taken: 0.95 },
};
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
