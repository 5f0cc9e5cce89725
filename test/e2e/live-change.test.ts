/**
 * A saved file is live within half a second: from the rename to the first request that behaves as the
 * file says, over a hundred changes under load, and no request fails meanwhile.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { watchProcessorWait } from "../support/processor-wait.ts";
import { controlPid, dataPlanes, faultMode, pidWith, startFaultMesh } from "./support/faults.ts";
import { descendantsOf } from "./support/mesh-processes.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";

const changes = 100;
const liveMaxMs = 500;
const requestsPerSecond = 100;
/** Changes come at any moment of the mesh's timers, and the former has always become live. */
const pauseMs = (): number => 650 + Math.random() * 150;
/** Until it is ended. */
const loadMs = 500_000;

const meshFile = `
mesh: live
console: { port: 0 }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  dependsOn: [server]
  command: [{exec}]
`;

function route(version: number): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server }
spec:
  hosts: [server]
  http:
  - headers: { response: { set: { x-live: "${version}" } } }
    route: [{ destination: { host: server } }]
`;
}

interface Seen {
  /** When sent, Unix time in milliseconds, and the version that answered. */
  readonly answers: readonly (readonly [sentAtMs: number, version: number])[];
  readonly failures: readonly (readonly [sentAtMs: number, why: string])[];
}

for (const dataPlane of dataPlanes) {
  test(`a changed route is live within ${liveMaxMs} ms, ${faultMode}, ${dataPlane}`, async (t) => {
    const files = { "heddle.yaml": meshFile, "route.yaml": route(0) };
    await using mesh = await startFaultMesh(dataPlane, files);
    const load = startLoad(mesh);
    await eventually("the load runs", () => pidWith(mesh, "/live-client.mjs"));
    await delay(2000);
    const startMs = performance.now();
    const changedAtMs: number[] = [];
    const waitedBetween = sampleWaits(mesh);
    for (let version = 1; version <= changes; version++) {
      mesh.write("route.yaml", route(version));
      changedAtMs.push(performance.timeOrigin + performance.now());
      await delay(pauseMs());
    }
    const forSeconds = (performance.now() - startMs) / 1000;
    process.kill(pidWith(mesh, "/live-client.mjs") ?? assert.fail("the load has ended"), "SIGTERM");
    const { answers, failures } = await load;
    assert.deepEqual(failures, []);
    assert(answers.length > forSeconds * requestsPerSecond * 0.9, `${answers.length} answers`);
    const sorted = answers.toSorted(([left], [right]) => left - right);
    const waitsMs: number[] = [];
    const delays = changedAtMs.map((at, index) => {
      const first = sorted.find(([sentAtMs, version]) => sentAtMs >= at && version > index);
      if (first === undefined) return Infinity;
      const waitMs = waitedBetween(at, first[0]);
      waitsMs.push(waitMs);
      return first[0] - at - waitMs;
    });
    const ordered = delays.toSorted((left, right) => left - right);
    const p99 = ordered[Math.ceil(changes * 0.99) - 1] ?? Infinity;
    const median = ordered[changes / 2] ?? Infinity;
    const longest = ordered.at(-1) ?? Infinity;
    const waited = waitsMs.toSorted((left, right) => left - right)[changes / 2] ?? 0;
    t.diagnostic(
      `with a processor: median ${median.toFixed(0)}, p99 ${p99.toFixed(0)}, max ${longest.toFixed(0)} ms; ${waited.toFixed(0)} ms without one`,
    );
    assert(
      p99 <= liveMaxMs,
      `p99 ${p99.toFixed(0)} ms: ${ordered.slice(-10).map(Math.round).join(", ")}`,
    );
  });
}

/** The processes that a change passes; what they wait for a processor is not the mesh's. */
function wayOf(mesh: TestMesh): readonly number[] {
  const { sidecarPid } = mesh.workload("client-0");
  const others = [controlPid(mesh), pidWith(mesh, "/live-client.mjs")];
  return [sidecarPid, ...descendantsOf(sidecarPid), ...others.filter((pid) => pid !== undefined)];
}

/** Begins to look every tenth of a second; the function ends that and tells of a time between. */
function sampleWaits(mesh: TestMesh): (fromMs: number, toMs: number) => number {
  const way = wayOf(mesh);
  const waitedMs = watchProcessorWait(() => way);
  const now = (): number => performance.timeOrigin + performance.now();
  const samples: [atMs: number, waitedMs: number][] = [[now(), 0]];
  const timer = setInterval(() => void samples.push([now(), waitedMs()]), 100);
  timer.unref();
  return (fromMs, toMs) => {
    clearInterval(timer);
    const before = samples.findLast(([atMs]) => atMs <= fromMs) ?? samples[0];
    const after = samples.find(([atMs]) => atMs >= toMs) ?? samples.at(-1);
    return (after?.[1] ?? 0) - (before?.[1] ?? 0);
  };
}

async function startLoad(mesh: TestMesh): Promise<Seen> {
  const script = join(import.meta.dirname, "support", "live-client.mjs");
  const line = `exec ${process.execPath} ${script} http://server/ ${requestsPerSecond} ${loadMs}`;
  const { code, stdout, stderr } = await mesh.workload("client-0").exec(line);
  assert.equal(code, 0, stderr);
  const seen: Seen = JSON.parse(stdout);
  return seen;
}
