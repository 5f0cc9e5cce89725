/** A proxy with 128 MiB and a fifth of a core: it serves 1,000 requests a second, and sheds before it ends. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";

import { systemClock } from "../../src/base/clock.ts";
import { type LoadResult, runOpenLoop } from "../../src/cli/bench/open-loop.ts";
import { arenasFor, sidecarFlags } from "../../src/local/run/sidecar-process.ts";
import { createPortableDialler } from "../../src/net/portable-dialler.ts";
import { type LimitedGroup, makeLimitedGroup } from "./limited-group.ts";
import { type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import { silentLog } from "./silent-log.ts";

/** A fifth of a core is what it gets, not only what it may take: neighbours must not decide what is measured. */
const limits = { memoryBytes: 128 * 2 ** 20, cpus: 0.2, isReserved: true };
const large = Buffer.alloc(8 * 2 ** 20, "x");
const slowSteps = 160;
const slowStep = 25;

export interface LimitedKind {
  readonly name: string;
  readonly io: "portable" | "epoll";
  readonly workers: string;
  /** Of Node. */
  readonly flags: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export const limitedKinds: readonly LimitedKind[] = [
  { name: "portable", io: "portable", workers: "0", flags: ["--max-semi-space-size=2"] },
  {
    name: "epoll, two data workers",
    io: "epoll",
    workers: "2",
    // As `heddle up` starts its sidecars: with V8's own rules two data workers take all of the 128 MiB.
    flags: sidecarFlags,
    environment: { MALLOC_ARENA_MAX: arenasFor(2) },
  },
];

export async function startApplication(): Promise<{
  readonly server: Server;
  readonly port: number;
}> {
  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
    outgoing.end(incoming.url === "/large" ? large : "served");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server's address, once it listens on a port.
  return { server, port: (server.address() as AddressInfo).port };
}

/**
 * In a group of the kernel's, or, where none may be made, with the same limit told to the proxy
 * itself: `how` says which.
 */
async function startLimited(
  { io, workers, flags, environment }: LimitedKind,
  applicationPort: number,
): Promise<{ proxy: ProxyProcess; group: LimitedGroup | undefined; how: string }> {
  const group = makeLimitedGroup(limits);
  const args = ["--concurrency", workers];
  if (group === undefined) args.push("--memory-limit", "128M");
  const proxy = await startProxyProcess({
    io,
    applicationPort,
    flags,
    args,
    ...(environment === undefined ? {} : { environment }),
    ...(group === undefined ? {} : { before: group.enter }),
  });
  const how = group === undefined ? "no cgroup may be made here: --memory-limit" : "in a cgroup";
  return { proxy, group, how };
}

async function load(port: number, durationMs: number, ratePerSecond: number): Promise<LoadResult> {
  const dialler = createPortableDialler({ clock: systemClock, log: silentLog });
  const plan = {
    target: { address: "127.0.0.1", port },
    request: "GET / HTTP/1.1\r\nhost: app\r\n\r\n",
    ratePerSecond,
    connectionsMax: 64,
    warmupMs: 3000,
    durationMs,
  };
  return await runOpenLoop(plan, { dialler, clock: systemClock });
}

/** Returns what to tell. */
export async function serveAtTheLimit(
  kind: LimitedKind,
  applicationPort: number,
  durationMs: number,
): Promise<string> {
  const { proxy, group, how } = await startLimited(kind, applicationPort);
  try {
    const result = await load(proxy.port, durationMs, 1000);
    assert.equal(group?.kills() ?? 0, 0, "the kernel has ended it");
    assert.deepEqual(result.failures, {}, proxy.log().slice(-2000));
    const peak = megabytes(group?.peakBytes() ?? proxy.memory().resident);
    const p99 = result.latencies.quantile(0.99).toFixed(1);
    const { anonymous } = proxy.memory();
    return `${how}: ${result.sent} requests, memory.peak ${peak}, anonymous ${megabytes(anonymous)}, p99 ${p99} ms, throttled ${group?.throttled() ?? 0} times`;
  } finally {
    await proxy.stop();
    group?.remove();
  }
}

/** More clients than there is memory for, who do not read large answers: some are refused; then they go. */
export async function shedNearTheLimit(
  kind: LimitedKind,
  applicationPort: number,
): Promise<string> {
  const { proxy, group, how } = await startLimited(kind, applicationPort);
  const slow: Socket[] = [];
  try {
    for (let step = 1; step <= slowSteps; step++) {
      for (let i = 0; i < slowStep; i++) slow.push(slowReader(proxy.port));
      await new Promise((resolve) => setTimeout(resolve, 100));
      // Once some were refused, as many come again.
      if (step % 20 === 0 && step >= 40 && (await refusals(proxy)) > 0) break;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assert.equal(group?.kills() ?? 0, 0, `the kernel has ended it: ${proxy.log().slice(-2000)}`);
    const peak = megabytes(group?.peakBytes() ?? proxy.memory().resident);
    for (const socket of slow) socket.destroy();
    await untilServed(proxy.port);
    const refused = await refusals(proxy);
    assert.ok(refused > 0, "nothing was refused");
    assert.match(
      proxy.log(),
      /memory runs short|overload: an action begins .*stop_accepting_requests/,
    );
    return `${how}: ${refused} of ${slow.length} slow readers refused, memory.peak ${peak}`;
  } finally {
    for (const socket of slow) socket.destroy();
    await proxy.stop();
    group?.remove();
  }
}

/** Connections and requests that were refused for want of memory. */
async function refusals(proxy: ProxyProcess): Promise<number> {
  const metrics = await proxy.admin("/stats/prometheus");
  const names = "listener_downstream_cx_overload_reject|http_downstream_rq_overload_close";
  const found = metrics.matchAll(new RegExp(`^envoy_(?:${names})\\{.*\\} (\\d+)$`, "gm"));
  return [...found].reduce((sum, [, count]) => sum + Number(count), 0);
}

function slowReader(port: number): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {}); // refused or reset: what this is about
  socket.pause();
  socket.write("GET /large HTTP/1.1\r\nhost: app\r\n\r\n");
  return socket;
}

/** One request, whatever becomes of it. */
async function served(port: number): Promise<boolean> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5000) });
    return answer.status === 200;
  } catch {
    return false;
  }
}

async function untilServed(port: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (await served(port)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("it does not serve again");
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
