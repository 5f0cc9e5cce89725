/**
 * What a data worker asks of the control thread, behind the interfaces that the data plane knows:
 * configuration, secrets, names, peers, logs. Answers come as messages; what must be there at once is
 * kept as a copy.
 */
import type { Clock } from "../../base/clock.ts";
import type { AddressFamily, ResolvedName, Resolver } from "../../net/resolver.ts";
import type { SecretSource, TlsSecret } from "../../net/secret-source.ts";
import { type AppendLines, BatchWriter, type WriteOutcome } from "../../telemetry/batch-writer.ts";
import type { Log } from "../../telemetry/log.ts";
import type { LogFields, Logger, LogLevel } from "../../telemetry/logger.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { PeerChange, PeerDirectory, PeerLabels } from "../../telemetry/standard-metrics.ts";
import type { XdsFeed, XdsUpdate } from "../../xds/feed.ts";
import type { FromWorker, ToWorker } from "./messages.ts";

export type Post = (message: FromWorker) => void;

/** The control thread subscribes, and sends what it has accepted. */
export class PortFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => {};
  readonly #post: Post;

  constructor(post: Post) {
    this.#post = post;
  }

  subscribe(): void {}

  take({ id, ...update }: ToWorker & { readonly kind: "update" }): void {
    const respond = (refusal?: string): void => this.#post({ kind: "applied", id, refusal });
    this.onUpdate({ ...update, respond });
  }
}

export class PortSecrets implements SecretSource {
  readonly #secrets = new Map<string, TlsSecret>();
  readonly #listeners = new Set<(name: string) => void>();

  get(name: string): TlsSecret | undefined {
    return this.#secrets.get(name);
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  take(name: string, secret: TlsSecret | undefined): void {
    if (secret === undefined) this.#secrets.delete(name);
    else this.#secrets.set(name, secret);
    for (const listener of this.#listeners) listener(name);
  }
}

export class PortPeers implements PeerDirectory {
  readonly #rows = new Map<string, PeerLabels>();
  revision = 0;

  resolve(instance: string): PeerLabels | undefined {
    return this.#rows.get(instance);
  }

  take({ rows, forgotten }: PeerChange): void {
    for (const name of forgotten) this.#rows.delete(name);
    for (const [name, labels] of rows) this.#rows.set(name, labels);
    this.revision++;
  }
}

export class PortResolver implements Resolver {
  readonly #post: Post;
  readonly #asked = new Map<number, PromiseWithResolvers<ResolvedName>>();
  #lastId = 0;

  constructor(post: Post) {
    this.#post = post;
  }

  resolve(hostname: string, family: AddressFamily): Promise<ResolvedName> {
    const id = ++this.#lastId;
    const asked = Promise.withResolvers<ResolvedName>();
    this.#asked.set(id, asked);
    this.#post({ kind: "resolve", id, hostname, family });
    return asked.promise;
  }

  take(id: number, answer: ResolvedName | string): void {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (typeof answer === "string") asked?.reject(new Error(answer));
    else asked?.resolve(answer);
  }
}

/** How long lines wait for company; the control thread gathers again before it writes. */
const flushAfterMs = 50;

/** Access-log files: whole lines go to the control thread, one batch of a file at a time. */
export class PortLogFiles {
  readonly #clock: Clock;
  readonly #metrics: MetricRegistry;
  readonly #post: Post;
  readonly #writers = new Map<string, BatchWriter>();
  readonly #done = new Map<string, (outcome: WriteOutcome) => void>();

  constructor(clock: Clock, metrics: MetricRegistry, post: Post) {
    this.#clock = clock;
    this.#metrics = metrics;
    this.#post = post;
  }

  readonly open = (path: string): AppendLines => {
    const writer = this.#writers.get(path) ?? this.#makeWriter(path);
    this.#writers.set(path, writer);
    return writer.append;
  };

  taken(path: string): void {
    const done = this.#done.get(path);
    this.#done.delete(path);
    done?.({ kind: "written" });
  }

  /** What is left, at the end. */
  close(): void {
    for (const [path, writer] of this.#writers) {
      const bytes = writer.close();
      if (bytes.length > 0) this.#post({ kind: "lines", path, bytes });
    }
  }

  #makeWriter(path: string): BatchWriter {
    return new BatchWriter({
      clock: this.#clock,
      flushAfterMs,
      write: (bytes, done) => {
        this.#done.set(path, done);
        // A view would be cloned with all the memory behind it.
        this.#post({ kind: "lines", path, bytes: new Uint8Array(bytes) });
      },
      onDrop: (lines, reason) =>
        this.#metrics
          .counter("heddle_log_lines_dropped_total", "Log lines that were lost.", {
            file: path,
            reason,
          })
          .add(lines),
    });
  }
}

const ranks: { readonly [Level in LogLevel]: number } = { error: 0, warn: 1, info: 2, debug: 3 };
/** Their news of changes are the control thread's, which makes the same changes. */
const echoing: ReadonlySet<string> = new Set(["xds", "listener"]);
const rootArea = "heddle";

/** The log, written by the control thread; what its level leaves out stays here. */
export class PortLog implements Log {
  readonly #post: Post;
  readonly #worker: number;
  readonly #levels: Map<string, LogLevel>;
  #default: LogLevel;

  constructor(post: Post, worker: number, levels: ReadonlyMap<string, LogLevel>) {
    this.#post = post;
    this.#worker = worker;
    this.#levels = new Map(levels);
    this.#default = levels.get(rootArea) ?? "info";
  }

  area(name: string): Logger {
    const write =
      (level: LogLevel) =>
      (message: string, fields: LogFields = {}): void =>
        this.#write(level, name, message, fields);
    return {
      error: write("error"),
      warn: write("warn"),
      info: write("info"),
      debug: write("debug"),
      area: (other) => this.area(other),
    };
  }

  error(message: string, fields: LogFields = {}): void {
    this.#write("error", rootArea, message, fields);
  }

  warn(message: string, fields: LogFields = {}): void {
    this.#write("warn", rootArea, message, fields);
  }

  info(message: string, fields: LogFields = {}): void {
    this.#write("info", rootArea, message, fields);
  }

  debug(message: string, fields: LogFields = {}): void {
    this.#write("debug", rootArea, message, fields);
  }

  setLevel(level: LogLevel, area?: string): void {
    if (area !== undefined) {
      this.#levels.set(area, level);
      return;
    }
    this.#default = level;
    this.#levels.clear();
  }

  levels(): ReadonlyMap<string, LogLevel> {
    return this.#levels;
  }

  #write(level: LogLevel, area: string, ...[message, fields]: [string, LogFields]): void {
    const threshold = this.#levels.get(area) ?? this.#default;
    if (ranks[level] > ranks[threshold]) return;
    if (level === "info" && threshold === "info" && echoing.has(area)) return;
    this.#post({ kind: "log", level, area, message, fields: { ...fields, worker: this.#worker } });
  }
}
