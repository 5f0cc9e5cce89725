/**
 * The data workers of a process, from the control thread: starts them, gives them what they serve by,
 * replaces one that fails, and puts together what they say. Connections go from the kernel to a
 * worker without passing here (net/epoll/connection-giver.ts).
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import { type AcceptingIo, ticketSeed } from "../../net/io-backend.ts";
import type { Resolver } from "../../net/resolver.ts";
import type { SecretSource } from "../../net/secret-source.ts";
import type { AppendLines } from "../../telemetry/batch-writer.ts";
import type { Log } from "../../telemetry/log.ts";
import type { LogLevel } from "../../telemetry/logger.ts";
import { MergedMetrics, type MetricBlock } from "../../telemetry/merged-metrics.ts";
import type { SharedMetricRegistry } from "../../telemetry/metric-registry.ts";
import { type PeerDirectory, standardMetricNames } from "../../telemetry/standard-metrics.ts";
import { typeUrls, type XdsFeed } from "../../xds/feed.ts";
import type { EndpointLoad } from "../admin/clusters.ts";
import type { ClusterPool } from "../cluster.ts";
import type { HealthReport } from "../cluster/cluster-health.ts";
import type { SharedLimits } from "../cluster/limits.ts";
import type { Configuration } from "../config.ts";
import { mergeTaps, type TapAnswer } from "../stats/tap.ts";
import { parseTapQuery } from "../stats/tap-query.ts";
import type { DrainPlan } from "../drain.ts";
import { factGauges } from "../stats/envoy-series.ts";
import { SharedBuckets } from "../engine/shared-buckets.ts";
import type { OverloadFlags } from "../overload.ts";
import { ForwardingFeed, type ForwardedUpdate, forwardedTypes } from "./forwarding-feed.ts";
import type { FromWorker } from "./messages.ts";
import { LimitRows } from "./limit-rows.ts";
import { answerName, SharedResolver } from "./shared-resolver.ts";
import { shareOf, WorkerLink } from "./worker-link.ts";
import { answersWithin } from "./within.ts";
import { defaultWatchLimits, endByForce, type WatchLimits, WorkerWatch } from "./worker-watch.ts";
import { type NodeOptions, workerNode } from "./worker-node.ts";

export interface DataWorkersOptions extends NodeOptions {
  readonly count: number;
  readonly entry: URL;
  readonly io: AcceptingIo;
  readonly feed: XdsFeed;
  readonly secrets: SecretSource;
  readonly peers: PeerDirectory;
  readonly resolver: Resolver;
  readonly openLog: (path: string) => AppendLines;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: SharedMetricRegistry;
  readonly socketMark: number | undefined;
  readonly overloadFlags: OverloadFlags | undefined;
  readonly version: string;
  readonly watch?: WatchLimits | undefined;
}

/** A worker that lived for less is not replaced at once. */
const shortLifeMs = 1000;
const replacementDelayMaxMs = 5000;
/** A worker that is busy for longer is left out of an answer. */
const answerMs = 1000;
const idleSeriesMs = 3_600_000;

export class DataWorkers {
  /** For the control thread's own configuration. */
  readonly feed: XdsFeed;
  readonly #options: DataWorkersOptions;
  readonly #resolver: Resolver;
  readonly #merged = new MergedMetrics({
    gaugeMerge: (name) => (factGauges.has(name) ? "greatest" : "sum"),
  });
  readonly #own: MetricBlock;
  readonly #links = new Map<number, WorkerLink>();
  readonly #sentSecrets = new Set<string>();
  readonly #limits: LimitRows;
  readonly #buckets = new SharedBuckets();
  readonly #timers = new Set<Timer>();
  readonly #watch: WorkerWatch;
  readonly #ready = Promise.withResolvers<void>();
  #configuration: Configuration | undefined;
  #clusters: ClusterPool | undefined;
  #stopSecrets: () => void = () => {};
  #stopPeers: (() => void) | undefined;
  #drainPlan: DrainPlan | undefined;
  #isHealthy = true;
  #isClosed = false;

  constructor(options: DataWorkersOptions) {
    this.#options = options;
    this.#limits = new LimitRows(options.count);
    this.#resolver = new SharedResolver(options.resolver, options.clock);
    this.#own = this.#merged.attach(options.metrics.flags);
    const { watch: limits = defaultWatchLimits, clock } = options;
    const onHang = (): void => endByForce(clock);
    this.#watch = new WorkerWatch({ ...options, log: options.log.area("workers"), limits, onHang });
    this.feed = new ForwardingFeed({
      feed: options.feed,
      forward: (update) => this.#forward(update),
      accepted: (typeUrl, names) =>
        this.#accepted(typeUrl).filter((resource) => names.has(resource.name)),
    });
  }

  /** `configuration` decides what is accepted; to be called before it starts. */
  start(configuration: Configuration, clusters: ClusterPool): void {
    this.#configuration = configuration;
    this.#clusters = clusters;
    this.#stopSecrets = this.#options.secrets.onChange((name) => {
      if (this.#sentSecrets.has(name)) this.#sendSecret(name);
      else this.#sendNewSecrets();
    });
    this.#stopPeers = this.#options.peers.follow?.((change) =>
      this.#postAll({ kind: "peers", change }),
    );
    for (let number = 1; number <= this.#options.count; number++) this.#startWorker(number, 0);
    this.#sweepLater();
  }

  get io(): AcceptingIo {
    return this.#options.io;
  }

  /** Resolves when every worker serves the first complete configuration. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  get waitingFor(): string | undefined {
    for (let number = 1; number <= this.#options.count; number++) {
      if (this.#links.get(number)?.isReady === true) return undefined;
    }
    return "no data worker has its configuration yet";
  }

  /** Prometheus text of all threads together. */
  async exposeMetrics(): Promise<string> {
    await this.#within([...this.#links.values()].map((link) => link.syncMetrics()));
    const news = this.#options.metrics.takeNews();
    if (news !== undefined) this.#own.apply(news);
    return this.#merged.expose();
  }

  /** The same as Prometheus's protobuf, with native histograms. */
  async exposeProtobuf(): Promise<Uint8Array> {
    this.#merged.wantNative();
    await this.exposeMetrics();
    return this.#merged.exposeProtobuf();
  }

  async loads(): Promise<readonly EndpointLoad[]> {
    const answers = await this.#within([...this.#links.values()].map((link) => link.loads()));
    return answers.flat();
  }

  /** Throws what is wrong with the query. */
  async tap(query: string): Promise<TapAnswer> {
    parseTapQuery(query);
    const answers = await this.#within([...this.#links.values()].map((link) => link.tap(query)));
    return mergeTaps(answers.filter((answer) => answer !== undefined));
  }

  setLogLevel(level: LogLevel, area: string | undefined): void {
    this.#postAll({ kind: "log-level", level, area });
  }

  resetSlowest(fromBytes: number, countMax: number): void {
    const each = Math.ceil(countMax / this.#options.count);
    this.#postAll({ kind: "reset-slowest", fromBytes, countMax: each });
  }

  /** Theirs is of the whole heap: with epoll they leave hardly any dead buffers, which die young. */
  collectGarbage(kind: "minor" | "major"): void {
    if (kind === "major") this.#postAll({ kind: "collect" });
  }

  /** Of the largest one's V8. */
  get heapBytes(): number {
    return Math.max(0, ...[...this.#links.values()].map(({ receiver }) => receiver.ring.heapBytes));
  }

  /** Gives up what only their start needed. */
  settle(): void {
    this.#postAll({ kind: "collect", thoroughly: { flavor: "last-resort" } });
  }

  /** Of the busiest, since this was asked last. */
  utilization(): number {
    return Math.max(0, ...[...this.#links.values()].map((link) => link.utilization()));
  }

  /** What checks have found of a cluster's endpoints. */
  tellHealth(report: HealthReport): void {
    this.#postAll({ kind: "health", report });
  }

  setHealthy(isHealthy: boolean): void {
    this.#isHealthy = isHealthy;
    this.#postAll({ kind: "healthy", isHealthy });
  }

  /** Resolves when no connection is left; sockets close when the workers take no more. */
  async drain(plan: DrainPlan): Promise<void> {
    this.#drainPlan = plan;
    this.#giver.closeUnserved();
    await Promise.all([...this.#links.values()].map((link) => link.drain(plan)));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopSecrets();
    this.#stopPeers?.();
    for (const timer of this.#timers) timer.cancel();
    const links = [...this.#links.values()];
    for (const link of links) link.post({ kind: "close" });
    await Promise.all(links.map(({ ended }) => ended));
    this.#watch.close();
  }

  #startWorker(number: number, delayMs: number): void {
    const options = this.#options;
    const receiver = this.#giver.enlist();
    const startedMs = options.clock.monotonicMs();
    const link = new WorkerLink({
      entry: options.entry,
      receiver,
      start: {
        number,
        workers: options.count,
        life: receiver.life,
        ring: receiver.ring.memory,
        descriptors: this.#giver.descriptors.memory,
        counts: this.#limits.memory,
        buckets: this.#buckets.memory,
        socketMark: options.socketMark,
        tickets: ticketSeed(options.clock.nowMs()),
        overload: shareOf(options.overloadFlags, options.count),
        ...workerNode(options),
        version: options.version,
        logLevels: options.log.levels(),
      },
      onMessage: (from, message) => this.#take(from, message),
      onError: (from, thrown) =>
        options.log.error("a data worker failed", {
          worker: from.number,
          reason: messageOf(thrown),
          ...(thrown instanceof Error ? { stack: thrown.stack } : {}),
        }),
      onExit: (from, code) => {
        const livedMs = options.clock.monotonicMs() - startedMs;
        this.#onExit(from, code, livedMs < shortLifeMs ? delayMs : undefined);
      },
    });
    this.#links.set(number, link);
    this.#bringUpToDate(link);
  }

  /** Everything that a worker must know before it may be given a connection. */
  #bringUpToDate(link: WorkerLink): void {
    const { peers, secrets } = this.#options;
    // Only what there is now: what changes later goes to all.
    peers.follow?.((change) => link.post({ kind: "peers", change }))();
    for (const name of this.#sentSecrets) {
      link.post({ kind: "secret", name, secret: secrets.get(name) });
    }
    for (const report of this.#clusters?.healthReports() ?? []) {
      link.post({ kind: "health", report });
    }
    for (const typeUrl of forwardedTypes) {
      const resources = this.#accepted(typeUrl);
      if (resources.length === 0 && this.#configuration?.isReady !== true) continue;
      const removed =
        typeUrl === typeUrls.extension ? (this.#configuration?.extensions.absent ?? []) : [];
      const update = { typeUrl, resources, removed };
      void link.update(update, this.#rowsOf(update));
    }
    if (!this.#isHealthy) link.post({ kind: "healthy", isHealthy: false });
  }

  #onExit(link: WorkerLink, code: number, lastDelayMs: number | undefined): void {
    const { clock, log } = this.#options;
    const closed = this.#giver.dismiss(link.receiver);
    link.metrics?.detach();
    this.#watch.forget(link);
    this.#limits.forget(link.number - 1);
    if (this.#links.get(link.number) === link) this.#links.delete(link.number);
    if (this.#isClosed) return;
    log.error("a data worker has ended", { worker: link.number, code, closed });
    if (this.#drainPlan !== undefined) return;
    if (lastDelayMs === undefined) return this.#startWorker(link.number, 0);
    const delayMs = Math.min(replacementDelayMaxMs, Math.max(100, lastDelayMs * 2));
    const timer = clock.schedule(delayMs, () => {
      this.#timers.delete(timer);
      this.#startWorker(link.number, delayMs);
    });
    this.#timers.add(timer);
  }

  #take(link: WorkerLink, message: FromWorker): void {
    switch (message.kind) {
      case "hello":
        link.receiver.eventfd = message.eventfd;
        link.metrics = this.#merged.attach(message.flags);
        return;
      case "serving":
        return this.#giver.setServing(link.receiver, message.key, message.listener);
      case "ready":
        link.isReady = true;
        this.#watch.watch(link);
        if ([...this.#links.values()].every(({ isReady }) => isReady)) this.#ready.resolve();
        return;
      case "resolve":
        void answerName(this.#resolver, link, message);
        return;
      case "log": {
        const { level, area, fields } = message;
        this.#options.log.area(area)[level](message.message, fields);
        return;
      }
      case "lines": {
        const { path, bytes } = message;
        const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
        this.#options.openLog(path)(lines, lines.length);
        link.post({ kind: "lines-taken", path });
        return;
      }
      case "health-news":
        return this.#clusters?.takeHealthNews(message.news);
      case "ejected":
        // A check that is passed ends it, and checks are made here.
        this.#clusters?.eject(message.ejection);
        for (const other of this.#links.values()) {
          if (other !== link) other.post({ kind: "eject", ejection: message.ejection });
        }
        return;
      case "metrics":
        if (message.news !== undefined) link.metrics?.apply(message.news);
        return;
      case "applied":
      case "loads":
      case "tapped":
      case "drained":
    }
  }

  /** Secrets first: what is applied may need them. */
  async #forward(update: ForwardedUpdate): Promise<string | undefined> {
    this.#sendNewSecrets();
    const rows = this.#rowsOf(update);
    const links = [...this.#links.values()];
    const answers = await Promise.all(links.map((link) => link.update(update, rows)));
    return answers.find((refusal) => refusal !== undefined);
  }

  /** For `ProxyOptions`. */
  get sharedLimits(): SharedLimits {
    return this.#limits.sharedLimits;
  }

  #rowsOf({ typeUrl, resources }: ForwardedUpdate): ReadonlyMap<string, number> {
    return this.#limits.of(typeUrl === typeUrls.cluster ? resources : []);
  }

  #accepted(typeUrl: string): ForwardedUpdate["resources"] {
    const applied = this.#configuration?.applied.accepted(typeUrl) ?? [];
    return applied.map(({ resource }) => resource);
  }

  #sendNewSecrets(): void {
    for (const name of this.#configuration?.secretNames() ?? []) {
      if (this.#sentSecrets.has(name) || this.#options.secrets.get(name) === undefined) continue;
      this.#sentSecrets.add(name);
      this.#sendSecret(name);
    }
  }

  #sendSecret(name: string): void {
    this.#postAll({ kind: "secret", name, secret: this.#options.secrets.get(name) });
  }

  #postAll(message: Parameters<WorkerLink["post"]>[0]): void {
    for (const link of this.#links.values()) link.post(message);
  }

  #within<T>(promises: readonly Promise<T>[]): Promise<readonly T[]> {
    return answersWithin(this.#options.clock, answerMs, promises);
  }

  #sweepLater(): void {
    const { clock } = this.#options;
    const timer = clock.schedule(idleSeriesMs, () => {
      this.#timers.delete(timer);
      this.#merged.expireIdle(standardMetricNames);
      this.#sweepLater();
    });
    this.#timers.add(timer);
  }

  get #giver(): AcceptingIo["giver"] {
    return this.#options.io.giver;
  }
}
