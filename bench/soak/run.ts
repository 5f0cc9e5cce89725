/** Runs a soak on a mesh of its own, in network namespaces: load, changes, and what the sidecars use. */
import { execFileSync } from "node:child_process";
import { loadavg } from "node:os";
import { join } from "node:path";

import { LatencyHistogram } from "../../src/cli/bench/latency-histogram.ts";
import { addResult, runLoads } from "../../src/cli/bench/load-process.ts";
import { useOf } from "../../src/cli/bench/mesh-processes.ts";
import type { LoadResult } from "../../src/cli/bench/open-loop.ts";
import { routeToService, type ServiceRoute } from "../../src/cli/bench/route-to-service.ts";
import { connectToMesh, type MeshApi } from "../../src/cli/mesh-api.ts";
import { startMesh, type TestMesh } from "../../test/e2e/support/mesh.ts";
import { type LimitedGroup, makeLimitedGroup } from "../../test/support/limited-group.ts";

export interface SoakPlan {
  readonly minutes: number;
  /** Requests per second; a share of what was measured first unless told. */
  readonly rate: number | undefined;
  readonly io: "portable" | "epoll";
  /** Processor time that each watched sidecar may take, in cores, as a container's limit; undefined for all there is. */
  readonly cpus: number | undefined;
  readonly pushEveryMs: number;
  readonly churnEveryMs: number;
  /** As `heddle up` takes it; renewed when two thirds of it are over at the latest. */
  readonly certificateTtl: string;
}

export interface SoakMinute {
  readonly minute: number;
  readonly requests: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the machine. */
  readonly load: number;
  /** By sidecar: the caller's, and one of the service's. */
  readonly sidecars: readonly SidecarMinute[];
}

export interface SidecarMinute {
  readonly name: string;
  readonly residentBytes: number;
  readonly anonymousBytes: number;
  readonly cpuPercent: number;
}

export interface SoakResult {
  readonly plan: SoakPlan;
  readonly rate: number;
  /** Requests per second; undefined where it was not measured. */
  readonly capacity: number | undefined;
  readonly commit: string;
  readonly startedAt: Date;
  readonly minutes: readonly SoakMinute[];
  readonly failures: Readonly<Record<string, number>>;
  readonly pushes: number;
  /** Certificates that the watched sidecars were given, by sidecar. */
  readonly certificates: readonly number[];
}

export const shareOfCapacity = 0.7;
/** What is asked for by the budget; faster shows in minutes what leaks for each event. */
export const usualPace = { pushEveryMs: 1000, churnEveryMs: 20_000, certificateTtl: "90s" };
const connectionsMax = 64;
/** As pods have it: twice what a sidecar takes. */
const limitBytes = 256 * 2 ** 20;
/** Short, so that a sidecar out of time waits for milliseconds. */
const limitPeriodUs = 10_000;
const main = join(import.meta.dirname, "../../src/cli/main.ts");

const meshFile = (replicas: number): string => `
mesh: soak
console: { port: 0 }
workloads:
- name: server
  replicas: ${replicas}
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}]
`;

const routeFile = (change: number): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server }
spec:
  hosts: [server]
  http:
  - headers: { response: { set: { x-change: "${change}" } } }
    route: [{ destination: { host: server } }]
`;

/** Throws where the machine allows no network namespaces, or the mesh does not become ready. */
export async function runSoak(plan: SoakPlan, say: (line: string) => void): Promise<SoakResult> {
  const mesh = await startMesh({
    mode: process.getuid?.() === 0 ? "root" : "rootless",
    processes: "heddle",
    dataPlane: "heddle",
    files: { "heddle.yaml": meshFile(2), "route.yaml": routeFile(0) },
    upArguments: [`--certificate-ttl=${plan.certificateTtl}`],
    environment: { HEDDLE_IO: plan.io },
  });
  const groups = plan.cpus === undefined ? [] : limitSidecars(mesh, plan.cpus);
  let pushes = 0;
  let replicas = 2;
  const timers = [
    setInterval(() => mesh.write("route.yaml", routeFile(++pushes)), plan.pushEveryMs),
    setInterval(() => {
      replicas = replicas === 2 ? 3 : 2;
      mesh.write("heddle.yaml", meshFile(replicas));
    }, plan.churnEveryMs),
  ];
  try {
    const api = connectToMesh({ stateDir: mesh.stateDir });
    const asked = { service: "server", port: undefined, from: "client" };
    const route = await routeToService(api, asked);
    const capacity = plan.rate === undefined ? await capacityOf(mesh, route) : undefined;
    const rate = Math.floor(plan.rate ?? (capacity ?? 0) * shareOfCapacity);
    say(`soak: ${rate} requests/s for ${plan.minutes} minutes`);
    const startedAt = new Date();
    const total = nothing();
    const minutes: SoakMinute[] = [];
    for (let minute = 1; minute <= plan.minutes; minute++) {
      // oxlint-disable-next-line no-await-in-loop -- one minute after the other
      const { seen, result } = await soakMinute(mesh, route, { minute, rate });
      addResult(total, result);
      minutes.push(seen);
      say(`soak: ${lineOf(seen)}`);
    }
    const certificates = await Promise.all(watched.map((name) => certificatesOf(api, name)));
    const { failures } = total;
    const about = { plan, rate, capacity, commit: commit(), startedAt };
    return { ...about, minutes, failures, pushes, certificates };
  } finally {
    for (const timer of timers) clearInterval(timer);
    await mesh.stop();
    for (const group of groups) group.remove();
  }
}

/** Those that live as long as the soak: further replicas come and go. */
const watched = ["client-0", "server-0"] as const;

/** Throws where the machine allows no such groups. */
function limitSidecars(mesh: TestMesh, cpus: number): readonly LimitedGroup[] {
  return watched.map((name) => {
    const limits = {
      memoryBytes: limitBytes,
      cpus,
      periodUs: limitPeriodUs,
      isReserved: true,
    };
    const group = makeLimitedGroup(limits);
    if (group === undefined) throw new Error("soak: no cgroup may be made here; leave --cpus out");
    group.add(mesh.workload(name).sidecarPid);
    return group;
  });
}

async function certificatesOf(api: MeshApi, instance: string): Promise<number> {
  const text = await api.getText(`/api/proxies/${instance}.default/metrics`);
  const issued = /^heddle_agent_certificate_requests_total{.*outcome="issued".*} (\d+)/m;
  return Number(issued.exec(text)?.[1] ?? 0);
}

async function soakMinute(
  mesh: TestMesh,
  route: ServiceRoute,
  { minute, rate }: { readonly minute: number; readonly rate: number },
): Promise<{ readonly seen: SoakMinute; readonly result: LoadResult }> {
  const pids = watched.map((name) => mesh.workload(name).sidecarPid);
  const before = pids.map((pid) => useOf(pid).cpuMs);
  const startMs = performance.now();
  const result = await load(mesh, route, { rate, durationMs: 60_000 });
  const wallMs = performance.now() - startMs;
  const sidecars = watched.map((name, at): SidecarMinute => {
    const { cpuMs, residentBytes, anonymousBytes } = useOf(pids[at] ?? 0);
    const cpuPercent = ((cpuMs - (before[at] ?? 0)) / wallMs) * 100;
    return { name, residentBytes, anonymousBytes, cpuPercent };
  });
  const { sent, failed, latencies } = result;
  const seen = {
    minute,
    requests: sent,
    failed,
    p50Ms: latencies.quantile(0.5),
    p99Ms: latencies.quantile(0.99),
    load: loadavg()[0] ?? 0,
    sidecars,
  };
  return { seen, result };
}

function lineOf({ minute, requests, failed, p99Ms, sidecars }: SoakMinute): string {
  const memory = sidecars.map(({ name, anonymousBytes }) => `${name} ${megabytes(anonymousBytes)}`);
  return `minute ${minute}: ${requests} requests, ${failed} failed, p99 ${p99Ms.toFixed(1)} ms, anonymous ${memory.join(", ")}`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A quarter more each time, until it is not kept up with any more, also not when asked again. */
async function capacityOf(mesh: TestMesh, route: ServiceRoute): Promise<number> {
  let kept = 100;
  // Until the code that serves is compiled.
  await load(mesh, route, { rate: kept, durationMs: 20_000 });
  for (let rate = 200; rate <= 20_000; rate = Math.floor(rate * 1.25)) {
    // oxlint-disable-next-line no-await-in-loop -- the next step depends on this one
    if (!(await isKept(mesh, route, rate)) && !(await isKept(mesh, route, rate))) break;
    kept = rate;
  }
  return kept;
}

async function isKept(mesh: TestMesh, route: ServiceRoute, rate: number): Promise<boolean> {
  const { latencies, failed } = await load(mesh, route, { rate, durationMs: 6000 });
  return failed === 0 && latencies.quantile(0.9) <= 100;
}

async function load(
  mesh: TestMesh,
  { target, host }: ServiceRoute,
  { rate, durationMs }: { readonly rate: number; readonly durationMs: number },
): Promise<LoadResult> {
  const plan = {
    target,
    request: `GET /soak HTTP/1.1\r\nhost: ${host}\r\nuser-agent: soak\r\n\r\n`,
    ratePerSecond: rate,
    connectionsMax,
    warmupMs: 0,
    durationMs,
  };
  const networkOf = mesh.workload("client-0").sidecarPid;
  return await runLoads([{ plan, networkOf, main }], () => {});
}

function nothing(): LoadResult {
  return { sent: 0, failed: 0, failures: {}, latencies: new LatencyHistogram() };
}

function commit(): string {
  const git = (...words: readonly string[]): string =>
    execFileSync("git", [...words], { cwd: import.meta.dirname })
      .toString()
      .trim();
  const isChanged = git("status", "--porcelain", "--untracked-files=no") !== "";
  return `${git("rev-parse", "--short=12", "HEAD")}${isChanged ? ", with changes" : ""}`;
}
