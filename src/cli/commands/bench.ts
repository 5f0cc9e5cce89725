/** `heddle bench SERVICE`: what sidecars add to a request's time, and what they use for it. */
import type { Command } from "commander";

import { LatencyHistogram } from "../bench/latency-histogram.ts";
import { addResult, type PlacedLoad, runLoads } from "../bench/load-process.ts";
import { type ProcessUse, sidecarPid, useOf } from "../bench/mesh-processes.ts";
import type { LoadResult } from "../bench/open-loop.ts";
import { routeToService, type ServiceRoute } from "../bench/route-to-service.ts";
import { parseDurationMs } from "../duration.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, meshFolder, type MeshOptions } from "../mesh-api.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";
import { formatTable } from "../table.ts";

interface Options extends MeshOptions {
  readonly output: OutputFormat;
  readonly from?: string;
  readonly port?: string;
  readonly path: string;
  readonly rate: string;
  readonly connections: string;
  readonly duration: string;
  readonly rounds: string;
}

interface Load {
  readonly ratePerSecond: number;
  readonly connections: number;
  readonly durationMs: number;
  readonly rounds: number;
  readonly path: string;
}

/** Milliseconds. */
interface Times {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

interface Measured {
  readonly requests: number;
  readonly failed: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly latencyMs: Times;
}

interface SidecarUse {
  readonly instance: string;
  readonly role: "caller" | "replica" | "caller and replica";
  /** Of one core, while the load ran through it. */
  readonly cpuPercent: number;
  /** Of one core, while the load passed it by. */
  readonly idleCpuPercent: number;
  readonly cpuMicrosecondsPerRequest: number;
  readonly residentMegabytes: number;
  readonly anonymousMegabytes: number;
}

const warmupMs = 1000;

export function registerBenchCommand(program: Command): void {
  addMeshOptions(program.command("bench"))
    .argument("<service>", "SERVICE, SERVICE.NAMESPACE or NAMESPACE/SERVICE")
    .description("measure what sidecars add: the same load to a service with and without them")
    .option("--from <workload>", "who asks; the first that is ready unless told")
    .option("--port <port>", "of the service; its first HTTP port unless told")
    .option("--path <path>", "what is asked for", "/")
    .option("--rate <requests>", "requests per second, sent when they are due", "200")
    .option("--connections <count>", "at most, kept alive", "32")
    .option("--duration <time>", "of each round, each way", "5s")
    .option("--rounds <count>", "with and without take turns so often", "2")
    .addOption(outputOption())
    .action(async (service: string, options: Options) => {
      const load = loadOf(options);
      const port = options.port === undefined ? undefined : count(options.port, "--port", 65_535);
      const api = connectToMesh(options);
      const route = await routeToService(api, { service, port, from: options.from });
      const answer = await measure(route, load, meshFolder(options));
      print(options.output, answer, () => describe(answer));
      const failed = answer.withoutSidecars.failed + answer.withSidecars.failed;
      if (failed > 0) process.exitCode = exitCodes.findings;
    });
}

function loadOf(options: Options): Load {
  const durationMs = parseDurationMs(options.duration, "--duration");
  if (durationMs < 1000 || durationMs > 600_000) {
    throw new CommandFailure(exitCodes.usage, `--duration ${options.duration} is not 1s to 10m`);
  }
  if (!/^\/[\x21-\x7e]*$/.test(options.path)) {
    throw new CommandFailure(exitCodes.usage, `--path ${options.path} does not begin with /`);
  }
  return {
    durationMs,
    path: options.path,
    ratePerSecond: count(options.rate, "--rate", 20_000),
    connections: count(options.connections, "--connections", 1000),
    rounds: count(options.rounds, "--rounds", 20),
  };
}

function count(text: string, option: string, max: number): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 1 && number <= max) return number;
  throw new CommandFailure(exitCodes.usage, `${option} ${text} is not 1 to ${max}`);
}

interface Answer {
  readonly service: string;
  readonly port: number;
  readonly from: string;
  readonly dataPlane: "heddle" | "envoy";
  readonly load: Load;
  readonly withoutSidecars: Measured;
  readonly withSidecars: Measured;
  /** What the sidecars of both ends add; milliseconds. */
  readonly addedMs: Pick<Times, "p50" | "p99">;
  readonly sidecars: readonly SidecarUse[];
}

async function measure(route: ServiceRoute, load: Load, stateDir: string): Promise<Answer> {
  const meter = new Meter(route, stateDir);
  const [without, within] = [nothing(), nothing()];
  for (let round = 1; round <= load.rounds; round++) {
    const say = (how: string) => (done: number, ofAll: number) =>
      console.error(`round ${round} of ${load.rounds}, ${how}: ${done} of ${ofAll} requests`);
    // One after the other, so that what else the machine does meets both alike.
    // oxlint-disable-next-line no-await-in-loop
    const direct = await meter.during(
      "without",
      async () => await runLoads(directLoads(route, load, meter), say("without sidecars")),
    );
    addResult(without, direct);
    // oxlint-disable-next-line no-await-in-loop
    const through = await meter.during(
      "with",
      async () => await runLoads([throughSidecars(route, load, meter)], say("with sidecars")),
    );
    addResult(within, through);
  }
  const [withoutSidecars, withSidecars] = [measured(without), measured(within)];
  const { service, port, from, dataPlane } = route;
  const added = (of: "p50" | "p99"): number =>
    rounded(withSidecars.latencyMs[of] - withoutSidecars.latencyMs[of]);
  return {
    service,
    port,
    from,
    dataPlane,
    load,
    withoutSidecars,
    withSidecars,
    addedMs: { p50: added("p50"), p99: added("p99") },
    sidecars: meter.uses(within.sent),
  };
}

/** Beside each application, on its own loopback, where no rule sends connections to a sidecar. */
function directLoads(route: ServiceRoute, load: Load, meter: Meter): readonly PlacedLoad[] {
  const each = load.ratePerSecond / route.replicas.length;
  const connections = Math.max(1, Math.ceil(load.connections / route.replicas.length));
  return route.replicas.map(({ instance, application }) => ({
    plan: {
      target: application,
      request: requestOf(load.path, route.host),
      ratePerSecond: each,
      connectionsMax: connections,
      warmupMs,
      durationMs: load.durationMs,
    },
    ...(route.isExplicit ? {} : { networkOf: meter.pidOf(instance) }),
  }));
}

function throughSidecars(route: ServiceRoute, load: Load, meter: Meter): PlacedLoad {
  const path = route.isExplicit ? `http://${route.host}${load.path}` : load.path;
  return {
    plan: {
      target: route.target,
      request: requestOf(path, route.host),
      ratePerSecond: load.ratePerSecond,
      connectionsMax: load.connections,
      warmupMs,
      durationMs: load.durationMs,
    },
    ...(route.isExplicit ? {} : { networkOf: meter.pidOf(route.from) }),
  };
}

function requestOf(target: string, host: string): string {
  return `GET ${target} HTTP/1.1\r\nhost: ${host}\r\nuser-agent: heddle-bench\r\n\r\n`;
}

function nothing(): LoadResult {
  return { sent: 0, failed: 0, failures: {}, latencies: new LatencyHistogram() };
}

function measured({ sent, failed, failures, latencies }: LoadResult): Measured {
  const at = (share: number): number => rounded(latencies.quantile(share));
  return {
    requests: sent,
    failed,
    failures,
    latencyMs: { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: rounded(latencies.maxMs) },
  };
}

function rounded(number: number): number {
  return Math.round(number * 1000) / 1000;
}

type Way = "with" | "without";

/** What the sidecars on the way use, each way. */
class Meter {
  readonly #pids: ReadonlyMap<string, number>;
  readonly #roles = new Map<string, SidecarUse["role"]>();
  readonly #cpuMs: Record<Way, Map<string, number>> = { with: new Map(), without: new Map() };
  readonly #wallMs: Record<Way, number> = { with: 0, without: 0 };
  #last = new Map<string, ProcessUse>();

  constructor({ from, replicas }: ServiceRoute, stateDir: string) {
    const names = replicas.map(({ instance }) => instance);
    for (const name of names) this.#roles.set(name, "replica");
    this.#roles.set(from, names.includes(from) ? "caller and replica" : "caller");
    this.#pids = new Map([...this.#roles.keys()].map((name) => [name, pidOf(stateDir, name)]));
  }

  pidOf(instance: string): number {
    const pid = this.#pids.get(instance);
    if (pid !== undefined) return pid;
    throw new CommandFailure(exitCodes.unreachable, `the sidecar of ${instance} does not run`);
  }

  async during<Result>(way: Way, run: () => Promise<Result>): Promise<Result> {
    const before = this.#look();
    const startMs = performance.now();
    const result = await run();
    this.#wallMs[way] += performance.now() - startMs;
    this.#last = this.#look();
    for (const [name, { cpuMs }] of this.#last) {
      const used = cpuMs - (before.get(name)?.cpuMs ?? cpuMs);
      this.#cpuMs[way].set(name, (this.#cpuMs[way].get(name) ?? 0) + used);
    }
    return result;
  }

  /** `requests`: how many went through the sidecars, the warm-up not among them. */
  uses(requests: number): readonly SidecarUse[] {
    const replicas = [...this.#roles.values()].filter((role) => role !== "caller").length;
    return [...this.#roles].map(([instance, role]) => {
      const share = (way: Way): number =>
        (this.#cpuMs[way].get(instance) ?? 0) / Math.max(1, this.#wallMs[way]);
      const through = role === "replica" ? requests / replicas : requests;
      const spentMs = Math.max(0, share("with") - share("without")) * this.#wallMs.with;
      const use = this.#last.get(instance);
      return {
        instance,
        role,
        cpuPercent: Math.round(share("with") * 1000) / 10,
        idleCpuPercent: Math.round(share("without") * 1000) / 10,
        cpuMicrosecondsPerRequest: Math.round((spentMs * 1000) / Math.max(1, through)),
        residentMegabytes: Math.round((use?.residentBytes ?? 0) / 1e6),
        anonymousMegabytes: Math.round((use?.anonymousBytes ?? 0) / 1e6),
      };
    });
  }

  #look(): Map<string, ProcessUse> {
    return new Map([...this.#pids].map(([name, pid]) => [name, useOf(pid)]));
  }
}

function pidOf(stateDir: string, instance: string): number {
  const pid = sidecarPid(stateDir, instance);
  if (pid !== undefined) return pid;
  throw new CommandFailure(
    exitCodes.unreachable,
    `the sidecar process of ${instance} is not to be seen from here`,
  );
}

function describe(answer: Answer): string {
  const { load, withoutSidecars, withSidecars, addedMs } = answer;
  const row = (name: string, { requests, failed, latencyMs: at }: Measured): readonly string[] => [
    name,
    ...[at.p50, at.p90, at.p99, at.max].map((ms) => `${ms.toFixed(2)} ms`),
    String(requests),
    String(failed),
  ];
  const added = (ms: number): string => `${ms >= 0 ? "+" : ""}${ms.toFixed(2)} ms`;
  const times = formatTable(
    ["", "P50", "P90", "P99", "MAX", "REQUESTS", "FAILED"],
    [
      row("without sidecars", withoutSidecars),
      row("with sidecars", withSidecars),
      ["added", added(addedMs.p50), "", added(addedMs.p99)],
    ],
  );
  const sidecars = formatTable(
    ["SIDECAR", "ROLE", "CPU", "WITHOUT LOAD", "CPU/REQUEST", "RESIDENT", "ANONYMOUS"],
    answer.sidecars.map((one) => [
      one.instance,
      one.role,
      `${one.cpuPercent} %`,
      `${one.idleCpuPercent} %`,
      `${one.cpuMicrosecondsPerRequest} µs`,
      `${one.residentMegabytes} MB`,
      `${one.anonymousMegabytes} MB`,
    ]),
  );
  const failures = [
    ...Object.entries(withoutSidecars.failures).map(
      ([kind, n]) => `without sidecars: ${n} × ${kind}`,
    ),
    ...Object.entries(withSidecars.failures).map(([kind, n]) => `with sidecars: ${n} × ${kind}`),
  ];
  const seconds = load.durationMs / 1000;
  const head =
    `${answer.service}, port ${answer.port}, from ${answer.from}, data plane ${answer.dataPlane}: ` +
    `${load.ratePerSecond} requests/s, at most ${load.connections} connections, ` +
    `${load.rounds} × ${seconds} s each way; times count from when a request was due`;
  return [head, "", times, "", sidecars, ...(failures.length === 0 ? [] : ["", ...failures])].join(
    "\n",
  );
}
