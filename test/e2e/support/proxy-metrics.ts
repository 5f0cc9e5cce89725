/** Reads what a sidecar of a test mesh exposes, over its status ports, from inside its network. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import type { SidecarOptions } from "../../../src/base/sidecar-options.ts";
import { readExposition, parseSeriesText } from "../../../src/store/exposition.ts";
import { eventually, type TestMesh } from "./mesh.ts";

const run = promisify(execFile);

export interface Instance {
  readonly name: string;
  readonly namespace?: string;
}

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export const ingressGateway: Instance = {
  name: "istio-ingressgateway-0",
  namespace: "istio-system",
};

/** The text a status port of the instance's sidecar answers with. */
export async function askSidecar(
  mesh: TestMesh,
  { name, namespace = "default" }: Instance,
  where: { readonly port: "mergedMetrics" | "ready" | "metrics"; readonly path: string },
): Promise<string> {
  const file = join(mesh.stateDir, "i", `${name}.${namespace}`, "options.json");
  const options: SidecarOptions = JSON.parse(readFileSync(file, "utf8"));
  const host = options.statusAddress === "0.0.0.0" ? "127.0.0.1" : options.statusAddress;
  const url = `http://${host}:${options.ports[where.port]}${where.path}`;
  if (mesh.mode === "explicit") return await (await fetch(url)).text();
  const { sidecarPid } = mesh.workload(name, namespace);
  const enter = process.getuid?.() === 0 ? [] : ["--user", "--preserve-credentials"];
  const words = ["--target", String(sidecarPid), "--net", ...enter, "--"];
  const curl = ["curl", "-sS", "-m", "5", "--noproxy", "*", url];
  const { stdout } = await run("nsenter", [...words, ...curl], { maxBuffer: 64 << 20 });
  return stdout;
}

/** Every sample of :15090/stats/prometheus; the text must be sound as a whole. */
export async function scrape(mesh: TestMesh, instance: Instance): Promise<readonly Sample[]> {
  return parseSamples(
    await askSidecar(mesh, instance, { port: "metrics", path: "/stats/prometheus" }),
  );
}

export function parseSamples(text: string): readonly Sample[] {
  const samples: Sample[] = [];
  const error = readExposition(text, {
    onSample(seriesText, value) {
      const series = parseSeriesText(seriesText);
      assert(typeof series !== "string", seriesText);
      const { __name__: name = "", ...labels } = Object.fromEntries(series);
      samples.push({ name, labels, value });
      return undefined;
    },
    onType() {},
  });
  assert.equal(error, undefined, `${JSON.stringify(error)} in ${text.slice(0, 300)}`);
  return samples;
}

/** Sum over the samples of a name whose labels include all of `labels`. */
export function total(
  samples: readonly Sample[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  return samples
    .filter((one) => one.name === name && includes(one.labels, labels))
    .reduce((sum, one) => sum + one.value, 0);
}

export function includes(
  labels: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(wanted).every(([key, value]) => labels[key] === value);
}

/** Waits until the sum is `wanted`; fails with what it was, and with the samples of that name. */
export async function untilTotal(
  mesh: TestMesh,
  instance: Instance,
  wanted: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly value: number;
  },
): Promise<readonly Sample[]> {
  const { name, labels = {}, value } = wanted;
  let last: readonly Sample[] = [];
  try {
    return await eventually(`${name} at ${instance.name}`, async () => {
      last = await scrape(mesh, instance);
      return total(last, name, labels) >= value && last;
    });
  } catch (thrown) {
    const lines = last
      .filter((one) => one.name === name)
      .map((one) => `${one.value} ${JSON.stringify(one.labels)}`);
    throw new Error(
      `${name}${JSON.stringify(labels)} of ${instance.name} is ${total(last, name, labels)}, not ${value}:\n${lines.join("\n")}`,
      { cause: thrown },
    );
  }
}
