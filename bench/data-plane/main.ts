/**
 * What the data plane costs beside nginx, HAProxy and Envoy, side by side in one run: the proxy on one
 * core (or two), load and application on the other. CPU time is compared, because on a shared machine it is
 * steady where requests per second are not. `--help` says how it is asked; everything its budgets name
 * takes about 40 minutes, and what is measured is told as it goes.
 *
 * Rounds are interleaved: each asks every proxy of a scenario in turn; the medians are shown. Before
 * that each is warmed up alike: V8 takes some 100,000 requests until it compiles nothing any more.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { openBundle } from "../../src/cli/bundle.ts";
import { findEnvoy } from "../../test/support/envoy.ts";
import { buildInterop } from "../../tools/build-interop.ts";
import { makeCertificate } from "./certificate.ts";
import { fill, portsOf } from "./configurations.ts";
import { type Contestant, contestants, contestantsOfFile, type Programs } from "./contestants.ts";
import { loadCore, type Measurement } from "./measure.ts";
import { type Running, start, waitForPort } from "./processes.ts";
import { Progress } from "./progress.ts";
import {
  describeCircumstances,
  formatReport,
  reportAsJson,
  writePerformancePage,
} from "./report.ts";
import { grid, inboundOffset, type Scenario, scenarios } from "./scenarios.ts";

const usage = `node bench/data-plane/main.ts [options]

  --rounds N        measurements of each proxy, of which the median is shown (5)
  --seconds N       of each measurement (2)
  --warm N          seconds before a proxy's first measurement in a scenario (5)
  --scenario REGEX  only scenarios with such names
  --only REGEX      only proxies with such names
  --grid            instead: connections by sizes, and more rates; an hour, on a quiet machine
  --cores N         of each proxy: 1, or 2, of which load and application have the second, too (1)
  --file FILE       both data planes with this bootstrap file as it is, one after the other;
                    answers on every port that its clusters dial; several times for several files
  --port N          the application's, and others above it (19000)
  --write           puts the tables into docs/performance.md
  -o, --output FORM text (Markdown) or json
  -h, --help        this

Needs nginx, haproxy, wrk, openssl, h2load and Envoy (HEDDLE_ENVOY, .cache/envoy or PATH); what asks and
serves gRPC is built with Go when it is first needed.`;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "2" },
    rounds: { type: "string", default: "5" },
    warm: { type: "string", default: "5" },
    scenario: { type: "string", default: "" },
    only: { type: "string", default: "" },
    grid: { type: "boolean", default: false },
    cores: { type: "string", default: "1" },
    file: { type: "string", multiple: true, default: [] },
    port: { type: "string", default: "19000" },
    write: { type: "boolean", default: false },
    output: { type: "string", short: "o", default: "text" },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}

/** By scenario, then by contestant: one for each round. */
export type Results = Map<Scenario, Map<Contestant, Measurement[]>>;

const folder = mkdtempSync(join(tmpdir(), "heddle-bench-"));
const backendPort = Number(values.port);
const collectorPort = backendPort + 1;
/** The application's for HTTP/2. */
const http2Port = backendPort + 2;
/** And gRPC's own server. */
const grpcPort = backendPort + 3;
const firstProxyPort = backendPort + 10;
const bodyBytes = [1024, 65_536, 10_485_760];
const seconds = wholeNumber("seconds", values.seconds);
const rounds = wholeNumber("rounds", values.rounds);
const warmSeconds = wholeNumber("warm", values.warm);
if (values.output !== "text" && values.output !== "json") refuse("--output is text or json");
if (values.cores !== "1" && values.cores !== "2") refuse("--cores is 1 or 2");
const proxyCores = values.cores === "2" ? "0,1" : "0";
const running = new Set<Running>();
const progress = new Progress((line) => console.error(line));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    for (const child of running) void child.stop();
    rmSync(folder, { recursive: true, force: true });
    process.exit(130);
  });
}
try {
  await main();
} finally {
  for (const child of running) void child.stop();
  rmSync(folder, { recursive: true });
}

async function main(): Promise<void> {
  makeCertificate(folder);
  // For the application's worker, which gives up root.
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, "bytes"));
  for (const bytes of bodyBytes) {
    writeFileSync(join(folder, "bytes", String(bytes)), Buffer.alloc(bytes, "x"));
  }
  const cores = values.cores === "2" ? 2 : 1;
  const programs: Programs = { envoy: findEnvoy(), heddle: (await openBundle()).main, cores };
  const wanted = new RegExp(values.scenario);
  const only = new RegExp(values.only);
  const asked = (values.grid ? grid : scenarios).filter(({ name }) => wanted.test(name));
  const loadBefore = loadavg();
  const results = new Map(asked.map((scenario) => [scenario, new Map()]));
  if (values.file.length > 0) {
    for (const file of values.file) await runFile(programs, resolve(file), results);
  } else {
    const chosen = contestants(programs).filter(({ name }) => only.test(name));
    await runAll(chosen, results);
  }
  const circumstances = describeCircumstances(programs.envoy, loadBefore, loadavg());
  const report = `${circumstances}\n\n${formatReport(results)}`;
  if (values.output === "text") console.log(report);
  else console.log(JSON.stringify({ circumstances, ...reportAsJson(results) }, undefined, 2));
  if (values.write) writePerformancePage(report, values.grid ? `grid, cores: ${cores}` : "table");
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) refuse(`--${name} is a whole number from 1`);
  return value;
}

function refuse(what: string): never {
  console.error(`data-plane: ${what}; --help tells more`);
  process.exit(2);
}

/** All proxies run all the time; those that are not asked wait. */
async function runAll(chosen: readonly Contestant[], results: Results): Promise<void> {
  await startBackend([backendPort], [collectorPort]);
  if (chosen.some(({ kind }) => kind.endsWith("-grpc"))) await startGrpcServer();
  const started = new Map<Contestant, { readonly port: number; readonly pid: number }>();
  for (const [index, contestant] of chosen.entries()) {
    if (![...results.keys()].some(({ kinds }) => kinds.test(contestant.kind))) continue;
    const port = firstProxyPort + index * 2;
    started.set(contestant, { port, pid: (await startProxy(contestant, port)).pid });
  }
  const partsOf = (scenario: Scenario): readonly Asked[] =>
    [...started].filter(([{ kind }]) => scenario.kinds.test(kind));
  for (const scenario of results.keys()) {
    progress.expect(partsOf(scenario).length * (warmSecondsOf(scenario) + rounds * seconds));
  }
  for (const [scenario, byContestant] of results) {
    const own = partsOf(scenario);
    try {
      await runRounds(scenario, own, byContestant);
    } catch (error) {
      // Half an hour of other measurements is worth keeping; this scenario has none then.
      console.error(`data-plane: ${scenario.name} is left out: ${String(error)}`);
      results.delete(scenario);
      process.exitCode = 1;
    }
  }
}

function warmSecondsOf({ warmTimes = 1 }: Scenario): number {
  return warmSeconds * warmTimes;
}

type Asked = readonly [Contestant, { readonly port: number; readonly pid: number }];

async function runRounds(
  scenario: Scenario,
  asked: readonly Asked[],
  byContestant: Map<Contestant, Measurement[]>,
): Promise<void> {
  // Caches, connections and compiled code are warm before anything counts, for everyone alike.
  for (const [{ name }, { port, pid }] of asked) {
    await scenario.run({ port, pid, folder }, warmSecondsOf(scenario));
    progress.passed(warmSecondsOf(scenario), `${scenario.name}: ${name} is warm`);
  }
  for (let round = 1; round <= rounds; round++) {
    for (const [contestant, { port, pid }] of asked) {
      const result = await scenario.run({ port, pid, folder }, seconds);
      byContestant.set(contestant, [...(byContestant.get(contestant) ?? []), result]);
      const cost = `${contestant.name} ${result.cpuUs.toFixed(1)} µs/${scenario.unit}`;
      progress.passed(seconds, `${scenario.name} ${round}/${rounds}: ${cost}`);
    }
  }
}

/** One after the other, because all want the same ports. */
async function runFile(programs: Programs, file: string, results: Results): Promise<void> {
  const { listens, dials } = portsOf(file);
  const backend = await startBackend([...dials], []);
  const chosen = contestantsOfFile(programs, file);
  for (let round = 0; round < rounds; round++) {
    for (const contestant of chosen) {
      const process = await startProxy(contestant, listens);
      const target = { port: listens, pid: process.pid, folder };
      for (const [scenario, byContestant] of results) {
        if (!scenario.kinds.test(contestant.kind)) continue;
        await scenario.run(target, warmSecondsOf(scenario));
        const result = await scenario.run(target, seconds);
        byContestant.set(contestant, [...(byContestant.get(contestant) ?? []), result]);
      }
      await stop(process);
    }
  }
  await stop(backend);
}

async function stop(process: Running): Promise<void> {
  running.delete(process);
  await process.stop();
}

async function startBackend(
  ports: readonly number[],
  collectors: readonly number[],
): Promise<Running> {
  const listen = [
    `listen 127.0.0.1:${http2Port} http2;`,
    ...ports.map((port) => `listen 127.0.0.1:${port} reuseport;`),
    ...collectors.map((port) => `listen 127.0.0.1:${port};`),
  ];
  const values = { FOLDER: folder, NAME: "backend", LISTEN: listen.join("\n    ") };
  const file = fill("backend.conf", folder, values);
  const process = start(["nginx", "-p", folder, "-c", file], { cores: loadCore, folder });
  running.add(process);
  for (const port of [...ports, ...collectors]) await waitForPort(port);
  return process;
}

async function startGrpcServer(): Promise<void> {
  const programs = buildInterop((command, args) => {
    execFileSync(command, [...args], { stdio: ["ignore", "ignore", "inherit"] });
  });
  const command = [join(programs, "server"), "--port", String(grpcPort)];
  running.add(start(command, { cores: loadCore, folder }));
  await waitForPort(grpcPort);
}

async function startProxy(contestant: Contestant, port: number): Promise<Running> {
  const file = contestant.configure(folder, {
    FOLDER: folder,
    BACKEND: String(backendPort),
    CORES: values.cores,
    HTTP2: String(http2Port),
    GRPC: String(grpcPort),
    COLLECTOR: String(collectorPort),
    NAME: contestant.name,
    PORT: String(port),
    PEER: String(port + inboundOffset),
  });
  const process = start(contestant.command(file, folder), { cores: proxyCores, folder });
  running.add(process);
  await waitForPort(contestant.isServer === true ? port + inboundOffset : port);
  return process;
}
