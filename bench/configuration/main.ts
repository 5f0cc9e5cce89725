/**
 * What configuration at scale costs a proxy that serves: 2,000 clusters and 10,000 routes.
 * `node --expose-gc bench/configuration/main.ts [CLUSTERS] [ROUTES]`
 *
 * For each step: the time the thread was busy with it in all, its longest turn of the event loop
 * (processor time of the thread, so that other work on the machine does not count; garbage collection
 * does), and for routes the memory that each holds. Then what choosing a route costs, three ways.
 */
import { loadavg } from "node:os";

import { measureMatching } from "./matching.ts";
import { assignments, clusters, listener, routesOfOneHost, routesOfServices } from "./resources.ts";
import { threadMs } from "./thread-time.ts";
import { systemClock } from "../../src/base/clock.ts";
import { startProxy } from "../../src/proxy/proxy.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { createMetricRegistry } from "../../src/telemetry/metric-registry.ts";
import { noPeers } from "../../src/telemetry/standard-metrics.ts";
import { typeUrls, type XdsFeed, type XdsResource, type XdsUpdate } from "../../src/xds/feed.ts";

const [clusterCount = 2000, routeCount = 10_000] = process.argv.slice(2).map(Number);
const perHost = 5;

class BenchFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => undefined;

  subscribe(): void {}

  send(typeUrl: string, resources: readonly XdsResource[]): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.onUpdate({ typeUrl, resources, removed: [], respond: resolve });
    });
  }
}

interface Turns {
  readonly busyMs: number;
  readonly longestMs: number;
  /** The longest but the nine longest. */
  readonly tenthMs: number;
}

/** Processor milliseconds of this thread, turn by turn, while something is done. */
async function turnsOf(work: () => Promise<unknown>): Promise<Turns> {
  // Garbage of those who made the resources is none of ours.
  heapBytes();
  const turns: number[] = [];
  let isOver = false;
  let lastMs = threadMs();
  const tick = (): void => {
    const nowMs = threadMs();
    turns.push(nowMs - lastMs);
    lastMs = nowMs;
    if (!isOver) setImmediate(tick);
  };
  setImmediate(tick);
  await work();
  // What follows from it: garbage, wishes.
  await new Promise((resolve) => void setTimeout(resolve, 50));
  isOver = true;
  const sorted = turns.toSorted((a, b) => b - a);
  return {
    busyMs: turns.reduce((sum, each) => sum + each, 0),
    longestMs: sorted[0] ?? 0,
    tenthMs: sorted[9] ?? 0,
  };
}

function heapBytes(): number {
  globalThis.gc?.();
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const feed = new BenchFeed();
const log = createLog({ level: "error", format: "text", clock: systemClock, sink: console.error });
const proxy = startProxy({
  feed,
  secrets: { get: () => undefined, onChange: () => () => undefined },
  clock: systemClock,
  log,
  metrics: createMetricRegistry(),
  random: Math.random,
  peers: noPeers,
  openLog: () => () => undefined,
  nodeId: "bench",
  version: "bench",
});

console.log(
  `load average ${loadavg()
    .map((each) => each.toFixed(1))
    .join(" ")}`,
);
const rows: Record<string, Record<string, string>> = {};

async function step(name: string, typeUrl: string, resources: readonly XdsResource[]) {
  const turns = await turnsOf(async () => {
    const refusal = await feed.send(typeUrl, resources);
    if (refusal !== undefined) throw new Error(refusal);
  });
  rows[name] = {
    "busy ms": turns.busyMs.toFixed(1),
    "longest turn ms": turns.longestMs.toFixed(2),
    "tenth longest ms": turns.tenthMs.toFixed(2),
  };
}

// The proxy serves something already: from then on, somebody waits for the thread.
await feed.send(typeUrls.cluster, []);
await feed.send(typeUrls.listener, [listener()]);
await feed.send(typeUrls.route, [routesOfServices(1, 1, "0")]);
await proxy.ready;
// Warm: a thread that serves has run all of this before.
for (let round = 0; round < 3; round++) {
  await feed.send(typeUrls.cluster, clusters(200, `w${round}`));
  await feed.send(typeUrls.endpoint, assignments(200, `w${round}`));
  await feed.send(typeUrls.route, [routesOfServices(200, perHost, `w${round}`)]);
  await feed.send(typeUrls.route, [routesOfOneHost(1000, `w${round}`)]);
}

const hosts = Math.floor(routeCount / perHost);
const idle = await turnsOf(() => new Promise((resolve) => void setTimeout(resolve, 200)));
rows["nothing"] = { "longest turn ms": idle.longestMs.toFixed(2) };
await step(`${clusterCount} clusters`, typeUrls.cluster, clusters(clusterCount));
await step(`${clusterCount} endpoint assignments`, typeUrls.endpoint, assignments(clusterCount));
await step("the same clusters again", typeUrls.cluster, clusters(clusterCount));

async function routes(name: string, config: XdsResource): Promise<void> {
  await feed.send(typeUrls.route, [routesOfServices(1, 1, "none")]);
  const before = heapBytes();
  await step(name, typeUrls.route, [config]);
  const bytes = heapBytes() - before;
  Object.assign(rows[name] ?? {}, { "bytes per route": (bytes / routeCount).toFixed(0) });
}

const services = routesOfServices(hosts, perHost, "2");
await routes(`${routeCount} routes of ${hosts} services`, services);
await step("one service's routes changed", typeUrls.route, [
  routesOfServices(hosts, perHost, "3", 7),
]);
const gateway = routesOfOneHost(routeCount, "4");
await routes(`${routeCount} routes of one host`, gateway);
console.table(rows);
await proxy.close();

console.table(measureMatching());
