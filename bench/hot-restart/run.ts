/**
 * A hot restart under load: `heddle proxy --supervised` is replaced (SIGHUP) while new connections come at a
 * fixed rate and streams of every kind are open. Streams end when the new proxy has served for a while.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { freePort } from "../../test/support/free-port.ts";
import { watchProcessorWait } from "../../test/support/processor-wait.ts";
import type { ApplicationPorts } from "./application.ts";
import { bootstrapOf, type ProxyPorts } from "./bootstrap.ts";
import { hasSocket, listeningInode } from "./processes.ts";
import type { NewcomersLine, NewcomersResult } from "./newcomers.ts";
import { runScript, type Script } from "./script.ts";
import { type OpenStream, openStreams, type StreamCounts } from "./streams.ts";
import { SupervisedProxy, type SupervisedOptions } from "./supervised-proxy.ts";

export interface HotRestartPlan extends SupervisedOptions {
  /** New connections per second. */
  readonly rate: number;
  readonly streams: StreamCounts;
  /** Of the new proxy beside the old one, by the newcomers' clock: so many are answered meanwhile. */
  readonly togetherMs: number;
}

export interface HotRestartResult {
  readonly newcomers: NewcomersResult;
  /** From SIGHUP until the new proxy serves and the old one drains, and until the old one has ended. */
  readonly servesAfterMs: number;
  readonly endedAfterMs: number;
  readonly streams: number;
  /** What became of those that did not go on until their end: `grpc: closed`. */
  readonly broken: readonly string[];
  /** The old one took no connection any more once the new one served. */
  readonly handsOver: boolean;
  /** For so long processes were ready to run while newcomers came, and had no processor. */
  readonly processorWaitMs: number;
}

const pollMs = 10;

/** Throws where a process cannot start; what happens to connections and streams is in the result. */
export async function runHotRestart(plan: HotRestartPlan): Promise<HotRestartResult> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-hot-restart-"));
  const application = runScript("application.ts");
  let proxy: SupervisedProxy | undefined;
  let load: Script | undefined;
  try {
    const ports: ProxyPorts = { http: await freePort(), tcp: await freePort() };
    const behind = await application.next<ApplicationPorts>();
    const file = join(folder, "proxy.json");
    writeFileSync(file, JSON.stringify(bootstrapOf(ports, behind)));
    proxy = await SupervisedProxy.start(file, plan);
    const listening = listeningInode(ports.http);
    const streams = await openStreams(ports, plan.streams);
    load = runScript("newcomers.ts", String(ports.http), String(plan.rate));
    await untilAnswered(load, plan.rate / 5);
    return await replaceUnderLoad({ plan, proxy, load, application, streams, listening });
  } finally {
    load?.process.kill("SIGKILL");
    // First, or the proxy would wait for streams that nobody ends.
    application.process.kill("SIGKILL");
    await proxy?.stop();
    rmSync(folder, { recursive: true });
  }
}

interface Running {
  readonly plan: HotRestartPlan;
  readonly proxy: SupervisedProxy;
  readonly load: Script;
  readonly application: Script;
  readonly streams: readonly OpenStream[];
  /** Of the socket that newcomers come to. */
  readonly listening: string;
}

async function replaceUnderLoad(running: Running): Promise<HotRestartResult> {
  const { plan, proxy, load, application, streams, listening } = running;
  const [before = 0] = proxy.children();
  const others = [load.pid, application.pid];
  const waitedMs = watchProcessorWait(() => [...proxy.children(), ...others]);
  const startMs = performance.now();
  proxy.keeper.kill("SIGHUP");
  await proxy.untilSaid(/\bdraining\b/);
  const servesAfterMs = performance.now() - startMs;
  await untilAnswered(load, (plan.rate * plan.togetherMs) / 1000);
  const handsOver = !hasSocket(before, listening);
  const broken = await brokenOf(streams, (stream) => stream.exchange());
  load.process.stdin?.end();
  const newcomers = await load.until<NewcomersLine>(({ kind }) => kind === "result");
  const processorWaitMs = waitedMs();
  application.process.stdin?.end();
  const whole = streams.filter((stream) => !broken.has(stream));
  const ends = await brokenOf(whole, (stream) => stream.end());
  while (proxy.children().includes(before)) await sleep(pollMs);
  if (newcomers.kind !== "result") throw new Error("the load has told no result");
  return {
    newcomers,
    processorWaitMs,
    servesAfterMs,
    endedAfterMs: performance.now() - startMs,
    streams: streams.length,
    broken: [...broken.values(), ...ends.values()],
    handsOver,
  };
}

/** So many more than have been answered when it is asked first. */
async function untilAnswered(load: Script, count: number): Promise<void> {
  let before: number | undefined;
  await load.until<NewcomersLine>((line) => line.answered - (before ??= line.answered) >= count);
}

/** Those that did not do what was asked of them, with what became of them. */
async function brokenOf(
  streams: readonly OpenStream[],
  act: (stream: OpenStream) => Promise<void>,
): Promise<ReadonlyMap<OpenStream, string>> {
  const broken = new Map<OpenStream, string>();
  await Promise.all(
    streams.map(async (stream) => {
      try {
        await act(stream);
      } catch (thrown) {
        broken.set(stream, `${stream.kind}: ${thrown instanceof Error ? thrown.message : "?"}`);
      }
    }),
  );
  return broken;
}
