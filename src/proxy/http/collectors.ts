/**
 * Collectors in clusters, for logs and spans: how a batch gets there, and what is logged of the way. One
 * line when it breaks and one when it works again, not one for each batch.
 */
import type { Logger } from "../../telemetry/logger.ts";
import type { ProxyContext } from "../context.ts";
import type { LogCall, LogCallOwner } from "../stats/grpc-log.ts";
import { ReportMemory } from "../stats/report-memory.ts";
import type { PostBatch } from "../stats/report-queue.ts";
import type { CallServices } from "./cluster-call.ts";
import { type PostTarget, postToCluster } from "./cluster-post.ts";
import { ClusterStream } from "./cluster-stream.ts";
import { callGrpc, grpcFrame, type GrpcTarget } from "./grpc-target.ts";
import { upstreamsOf } from "./upstreams.ts";

/** What it is that cannot be sent, for the log: spans, access logs. */
type What = string;

class WayThere {
  readonly #log: Logger;
  readonly #what: What;
  readonly #cluster: string;
  #hasFailed = false;

  constructor(log: Logger, what: What, cluster: string) {
    this.#log = log;
    this.#what = what;
    this.#cluster = cluster;
  }

  tell(reason: string | undefined): void {
    const fields = { what: this.#what, cluster: this.#cluster };
    if (reason !== undefined && !this.#hasFailed) {
      this.#log.warn("a collector is not reached", { ...fields, reason });
    }
    if (reason === undefined && this.#hasFailed) {
      this.#log.info("a collector is reached again", fields);
    }
    this.#hasFailed = reason !== undefined;
  }
}

export function callServices(context: ProxyContext): CallServices {
  return { clusters: context.clusters, upstreams: upstreamsOf(context) };
}

/** Batches are bodies of HTTP requests. */
export function postsOverHttp(context: ProxyContext, target: PostTarget, what: What): PostBatch {
  const way = new WayThere(context.log.area("collector"), what, target.cluster);
  return (body, done) => {
    postToCluster(callServices(context), target, body, (reason) => {
      way.tell(reason);
      done(reason === undefined);
    });
  };
}

/** Batches are single messages of a unary call, unless they are `framed` already. */
export function postsOverGrpc(
  context: ProxyContext,
  target: GrpcTarget & { readonly path: string },
  { what, isFramed = false }: { readonly what: What; readonly isFramed?: boolean },
): PostBatch {
  const way = new WayThere(context.log.area("collector"), what, target.cluster);
  return (body, done) => {
    callGrpc(callServices(context), target, isFramed ? body : grpcFrame(body), (reason) => {
      way.tell(reason);
      done(reason === undefined);
    });
  };
}

/** A call that lasts; how it went is told to its owner, and to the log. */
export function streamsOverGrpc(
  context: ProxyContext,
  target: GrpcTarget & { readonly path: string },
  what: What,
): (owner: LogCallOwner) => LogCall {
  const way = new WayThere(context.log.area("collector"), what, target.cluster);
  return (owner) => {
    const stream = new ClusterStream(callServices(context), target, {
      onRoom() {
        way.tell(undefined);
        owner.onRoom();
      },
      onClosed(reason) {
        way.tell(reason);
        owner.onClosed(reason);
      },
    });
    stream.open();
    return stream;
  };
}

const memories = new WeakMap<ProxyContext, ReportMemory>();

/** Of all that waits for collectors. */
export function reportMemory(context: ProxyContext): ReportMemory {
  const memory = memories.get(context) ?? new ReportMemory();
  memories.set(context, memory);
  return memory;
}

/** So many things of a kind are kept for those who ask for the same again. */
const keptMax = 64;

/** Keeps reports that wait for a collector. */
export interface Reporting {
  /** Sends what waits; resolves when nothing does any more, or when nobody takes it. */
  finish(): Promise<void>;
}

const everyKept: Kept<Reporting>[] = [];

/**
 * What outlives a version of the configuration: reports that wait are sent under the next one. Who
 * asks with the same key gets the same; past `keptMax` the one that was asked for longest ago is
 * forgotten here, and ends with those who hold it.
 */
export class Kept<Value extends Reporting> {
  readonly #byContext = new WeakMap<ProxyContext, Map<string, Value>>();

  constructor() {
    everyKept.push(this);
  }

  get(context: ProxyContext, key: string, make: () => Value): Value {
    const all = this.#byContext.get(context) ?? new Map<string, Value>();
    this.#byContext.set(context, all);
    const value = all.get(key) ?? make();
    all.delete(key);
    all.set(key, value);
    const [oldest] = all.keys();
    if (all.size > keptMax && oldest !== undefined) all.delete(oldest);
    return value;
  }

  of(context: ProxyContext): readonly Value[] {
    return [...(this.#byContext.get(context)?.values() ?? [])];
  }
}

/** A collector that takes longer gets no more. */
const finishMs = 1000;

/** At an orderly end: what waits for collectors leaves before the connections to them end. */
export async function finishReports(context: ProxyContext): Promise<void> {
  const all = everyKept.flatMap((kept) => kept.of(context));
  if (all.length === 0) return;
  await new Promise<void>((resolve) => {
    const timer = context.clock.schedule(finishMs, resolve);
    void Promise.all(all.map((one) => one.finish())).then(() => {
      timer.cancel();
      resolve();
    });
  });
  // Frames leave at the end of a turn (docs/decisions/0026-frames-leave-at-the-end-of-a-turn.md).
  await new Promise((resolve) => void setImmediate(resolve));
}
