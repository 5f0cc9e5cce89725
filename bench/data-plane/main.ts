/**
 * What a request costs in each proxy, side by side in one run: nginx, HAProxy, Envoy and Heddle with
 * the same configuration. HTTP/1.1 keep-alive, 64-byte answers, wrk with 32 connections; the proxy on
 * one core, load and application on the other. CPU time per request is compared, because on a shared
 * machine it is steady where requests per second are not.
 *
 *   node bench/data-plane/main.ts [--seconds 4] [--rounds 2] [--only REGEX] [--write]
 *
 * `--write` puts the table into docs/performance.md. Needs nginx, haproxy, wrk, openssl and Envoy
 * (`HEDDLE_ENVOY`, .cache/envoy or PATH); a proxy that is not there is left out, and said so.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { openBundle } from "../../src/cli/bundle.ts";
import { findEnvoy } from "../../test/support/envoy.ts";
import { type Contestant, contestants } from "./contestants.ts";
import { measure, type Measurement } from "./measure.ts";
import { fill, type Running, start, waitForPort } from "./processes.ts";
import { describeCircumstances, formatTable, writePerformancePage } from "./report.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "4" },
    rounds: { type: "string", default: "2" },
    only: { type: "string", default: "" },
    write: { type: "boolean", default: false },
  },
});

const folder = mkdtempSync(join(tmpdir(), "heddle-bench-"));
const backendPort = 19_000;
const collectorPort = 19_001;
const running: Running[] = [];
try {
  await main();
} finally {
  for (const process of running) process.stop();
  rmSync(folder, { recursive: true });
}

async function main(): Promise<void> {
  makeCertificate();
  const { main: heddle } = await openBundle();
  const loadBefore = loadavg();
  const shared = { FOLDER: folder, BACKEND: String(backendPort), COLLECTOR: String(collectorPort) };
  const backend = fill("backend.conf", folder, { ...shared, NAME: "backend" });
  running.push(start(["nginx", "-p", folder, "-c", backend], 1));
  await waitForPort(backendPort);
  const only = new RegExp(values.only);
  const chosen = contestants({ envoy: findEnvoy(), heddle }).filter(({ name }) => only.test(name));
  const results = new Map<string, Measurement[]>();
  for (const [index, contestant] of chosen.entries()) {
    await startContestant(contestant, 19_010 + index * 2, shared);
  }
  // Caches, connections and compiled code are warm before anything counts, for everyone alike.
  for (const [index] of chosen.entries()) {
    const process = running[index + 1];
    if (process !== undefined) measure(19_010 + index * 2, process.pid, 2);
  }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [index, contestant] of chosen.entries()) {
      const process = running[index + 1];
      if (process === undefined) continue;
      const result = measure(19_010 + index * 2, process.pid, Number(values.seconds));
      const earlier = results.get(contestant.name) ?? [];
      results.set(contestant.name, [...earlier, result]);
    }
  }
  const circumstances = describeCircumstances(loadBefore, loadavg());
  const table = `${circumstances}\n\n${formatTable(chosen, results)}`;
  console.log(table);
  if (values.write) writePerformancePage(table);
}

async function startContestant(
  contestant: Contestant,
  port: number,
  shared: Readonly<Record<string, string>>,
): Promise<void> {
  const file = fill(contestant.template, folder, {
    ...shared,
    NAME: contestant.name,
    PORT: String(port),
    PEER: String(port + 1),
  });
  running.push(start(contestant.command(file, folder), 0));
  await waitForPort(port);
}

function makeCertificate(): void {
  const name = "URI:spiffe://cluster.local/ns/default/sa/bench";
  const options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(
    " ",
  );
  const files = ["-keyout", join(folder, "key.pem"), "-out", join(folder, "cert.pem")];
  const subject = ["-subj", "/CN=bench.default", "-addext", `subjectAltName=${name}`];
  const result = spawnSync("openssl", ["req", ...options, ...files, ...subject]);
  if (result.status !== 0) throw new Error(`openssl: ${result.stderr.toString()}`);
}
