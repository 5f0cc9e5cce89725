/**
 * A data worker, a thread that serves connections: the same data plane as everywhere, with the control
 * thread behind what it asks for. It ends when it is told to, or by a fault of ours.
 */
import { flushCompileCache } from "node:module";
import v8 from "node:v8";
import { parentPort, workerData } from "node:worker_threads";

import { assert } from "../../base/assert.ts";
import { type Clock, systemClock } from "../../base/clock.ts";
import { openServingIo, type ServingIo } from "../../net/io-backend.ts";
import {
  createSharedMetricRegistry,
  type SharedMetricRegistry,
} from "../../telemetry/metric-registry.ts";
import { standardMetricNames } from "../../telemetry/standard-metrics.ts";
import { OverloadFlags } from "../overload.ts";
import { SharedBuckets } from "../engine/shared-buckets.ts";
import { bucketWatch } from "../stats/bucket-watch.ts";
import { SharedCounts } from "../engine/shared-counts.ts";
import { type Proxy, type ProxyOptions, startProxy } from "../proxy.ts";
import type { FromWorker, ToWorker, WorkerStart } from "./messages.ts";
import {
  PortFeed,
  PortLog,
  PortLogFiles,
  PortPeers,
  type Post,
  PortResolver,
  PortSecrets,
} from "./port-services.ts";
import { workerNode } from "./worker-node.ts";
import { beatMs } from "./worker-watch.ts";

const idleSeriesMs = 3_600_000;
/** Series that nobody was told of are lost when a thread fails: so much of what it counted, at most. */
const newsMs = 1000;
/** Asking V8 takes microseconds, a heap that fills up takes longer than that. */
const beatsPerHeap = 5;

function overloadOf({ overload, workers }: WorkerStart): Pick<ProxyOptions, "overloadFlags"> {
  if (overload === undefined) return {};
  return { overloadFlags: new OverloadFlags(overload.connectionsMax, overload.shared, workers) };
}

/** From this thread's clock to the machine's: threads have clocks that began when they did. */
function clockOffsetMs(clock: Clock): number {
  return Number(process.hrtime.bigint()) / 1e6 - clock.monotonicMs();
}

class DataWorker {
  readonly #post: Post;
  readonly #metrics: SharedMetricRegistry = createSharedMetricRegistry();
  readonly #feed: PortFeed;
  readonly #secrets = new PortSecrets();
  readonly #peers = new PortPeers();
  readonly #resolver: PortResolver;
  readonly #files: PortLogFiles;
  readonly #log: PortLog;
  readonly #io: ServingIo;
  /** Of clusters, in the counts that threads share. */
  readonly #rows = new Map<string, number>();
  readonly #proxy: Proxy;

  constructor(start: WorkerStart, post: Post) {
    const clock = systemClock;
    const counts = new SharedCounts(start.workers, start.number - 1, start.counts);
    this.#post = post;
    this.#feed = new PortFeed(post);
    this.#resolver = new PortResolver(post);
    this.#files = new PortLogFiles(clock, this.#metrics, post);
    this.#log = new PortLog(post, start.number, start.logLevels);
    this.#io = openServingIo({
      ...start,
      threads: start.workers,
      clock,
      log: this.#log.area("io"),
      onServing: (key, listener) => post({ kind: "serving", key, listener }),
    });
    post({ kind: "hello", eventfd: this.#io.eventfd, flags: this.#metrics.flags });
    this.#proxy = startProxy({
      feed: this.#feed,
      secrets: this.#secrets,
      clock,
      log: this.#log,
      metrics: this.#metrics,
      random: Math.random,
      peers: this.#peers,
      openLog: this.#files.open,
      ...(start.socketMark === undefined ? {} : { socketMark: start.socketMark }),
      backend: this.#io,
      ...overloadOf(start),
      isWorker: true,
      onEjected: (ejection) => post({ kind: "ejected", ejection }),
      onHealthNews: (news) => post({ kind: "health-news", news }),
      sharedLimits: (cluster, kind) => {
        const row = this.#rows.get(cluster);
        return row === undefined ? undefined : counts.of(row, kind);
      },
      buckets: new SharedBuckets(clockOffsetMs(clock), start.buckets, bucketWatch(this.#metrics)),
      resolver: this.#resolver,
      ...workerNode(start),
      version: start.version,
    });
    void this.#proxy.ready.then(() => {
      post({ kind: "ready" });
      // For the next thread, also where this one fails: Node writes it at a good end alone, and what is there already is not written again.
      flushCompileCache();
    });
    const sweep = (): void => {
      this.#metrics.expireIdle(standardMetricNames);
      clock.schedule(idleSeriesMs, sweep);
    };
    clock.schedule(idleSeriesMs, sweep);
    const tell = (): void => {
      this.#tellMetrics(0);
      clock.schedule(newsMs, tell);
    };
    clock.schedule(newsMs, tell);
    let beats = 0;
    const beat = (): void => {
      this.#io.beat(
        beats++ % beatsPerHeap === 0 ? v8.getHeapStatistics().used_heap_size : undefined,
      );
      clock.schedule(beatMs, beat);
    };
    beat();
  }

  take(message: ToWorker): void {
    switch (message.kind) {
      case "update":
        for (const [cluster, row] of message.rows) this.#rows.set(cluster, row);
        return this.#feed.take(message);
      case "secret":
        return this.#secrets.take(message.name, message.secret);
      case "peers":
        return this.#peers.take(message.change);
      case "resolved":
        return this.#resolver.take(message.id, message.answer);
      case "lines-taken":
        return this.#files.taken(message.path);
      case "log-level":
        return this.#log.setLevel(message.level, message.area);
      case "ask":
        return this.#answer(message.id, message.what);
      case "tap":
        return this.#post({
          kind: "tapped",
          id: message.id,
          answer: this.#proxy.tap(message.query),
        });
      case "reset-slowest":
        return this.#proxy.resetSlowest(message.fromBytes, message.countMax);
      case "collect":
        // There because the flag was set before the thread was started.
        return globalThis.gc?.({ type: "major", execution: "sync", ...message.thoroughly });
      case "eject":
        return this.#proxy.eject(message.ejection);
      case "health":
        return this.#proxy.takeHealth(message.report);
      case "healthy":
        return this.#proxy.setHealthy(message.isHealthy);
      case "drain":
        void this.#proxy
          .drain(message.plan)
          .then(() => this.#post({ kind: "drained", id: message.id }));
        return;
      case "close":
        void this.#close();
    }
  }

  #answer(id: number, what: (ToWorker & { readonly kind: "ask" })["what"]): void {
    if (what === "loads") this.#post({ kind: "loads", id, loads: this.#proxy.loads() });
    else this.#tellMetrics(id);
  }

  #tellMetrics(id: number): void {
    const news = this.#metrics.takeNews();
    if (news !== undefined || id > 0) this.#post({ kind: "metrics", id, news });
  }

  async #close(): Promise<void> {
    await this.#proxy.close();
    this.#files.close();
    this.#tellMetrics(0);
    this.#io.close();
    process.exit(0);
  }
}

/** For the length of this thread. */
export function runDataWorker(): void {
  const port = parentPort;
  assert(port !== null, "a data worker is a thread");
  // The one who started it says so.
  const worker = new DataWorker(workerData as WorkerStart, (message: FromWorker) =>
    port.postMessage(message),
  );
  port.on("message", (message: ToWorker) => worker.take(message));
}
