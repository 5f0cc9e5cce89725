/**
 * What the data plane gives up when a resource runs short, so that it does not end: Envoy's overload
 * manager. Monitors say how much of each resource is used, triggers decide which actions are on; whoever
 * accepts connections and requests asks here. What a configuration says is in `overload/plan.ts`.
 */
import v8 from "node:v8";

import type { Clock, Timer } from "../base/clock.ts";
import type { ProcessMemory } from "../base/process-memory.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Gauge, MetricRegistry } from "../telemetry/metrics.ts";
import type { OverloadActionName, OverloadPlan, OverloadTrigger } from "./overload/plan.ts";

export { defaultOverloadPlan, type MemoryBounds, type OverloadPlan } from "./overload/plan.ts";

/** What it needs of whoever starts a data plane. */
export interface ProxyOverload {
  readonly plan: OverloadPlan;
  readonly memory: ProcessMemory;
  /** At once; `major` takes some 20 ms, `minor` one. */
  readonly collectGarbage: (kind: "minor" | "major") => void;
  /** Gives back what the allocator has freed and kept; some milliseconds. */
  readonly releaseFreed?: () => void;
}

/** Asked for each connection and request: facts of the last refresh. */
export interface OverloadState {
  readonly refusesRequests: boolean;
  readonly refusesConnections: boolean;
  /** Each answer ends its connection. */
  readonly endsConnections: boolean;
  /** Open connections of all listeners; more are refused. */
  readonly connectionsMax: number;
  /** The same of those that came in the last seconds: for so many there is memory. */
  readonly youngConnectionsMax: number;
}

export interface OverloadOptions extends ProxyOverload {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
  /** Resets connections whose peers are slow: those with the most to send first. */
  readonly resetSlowest: (fromBytes: number, countMax: number) => void;
  /** Of V8 in the thread that holds the most, this one left out. */
  readonly heapElsewhere?: () => number;
}

/** As many as Envoy resets in a refresh. */
const resetsMax = 50;
/** More often would cost what is short, too. */
const shrinkEveryMs = 5000;
/** Of 40 MB that the allocator of a proxy with two data workers has, 20 are freed ones that it keeps. */
const releaseEveryMs = { begun: 5000, whole: 1000 } as const;
/** Dead buffers of large bodies come back in no time. */
const minorEveryMs = 200;

const bit = { refusesRequests: 1, refusesConnections: 2, endsConnections: 4 } as const;

/** In memory that threads can share: one thread decides, all ask. */
export class OverloadFlags implements OverloadState {
  readonly connectionsMax: number;
  /** What is short; then for how many connections there is memory. */
  readonly shared: Int32Array;
  readonly #threads: number;

  constructor(
    connectionsMax: number,
    shared: Int32Array = new Int32Array(new SharedArrayBuffer(8)),
    threads: number = 1,
  ) {
    this.connectionsMax = connectionsMax;
    this.shared = shared;
    this.#threads = threads;
  }

  get youngConnectionsMax(): number {
    return (this.shared[1] ?? 0) / this.#threads;
  }

  get refusesRequests(): boolean {
    return this.#has(bit.refusesRequests);
  }

  get refusesConnections(): boolean {
    return this.#has(bit.refusesConnections);
  }

  get endsConnections(): boolean {
    return this.#has(bit.endsConnections);
  }

  #has(flag: number): boolean {
    return ((this.shared[0] ?? 0) & flag) !== 0;
  }
}

const unlimited = 2 ** 31 - 1;
/** Where requests begin to be refused. */
const roomUpTo = 0.9;

export class Overload {
  readonly flags: OverloadFlags;
  readonly #options: OverloadOptions;
  readonly #pressures = new Map<string, number>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #active = new Map<OverloadActionName, number>();
  #shrunkMs = Number.NEGATIVE_INFINITY;
  #minorMs = Number.NEGATIVE_INFINITY;
  #releasedMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;

  constructor(options: OverloadOptions) {
    this.#options = options;
    this.flags = new OverloadFlags(options.plan.connectionsMax ?? Number.POSITIVE_INFINITY);
    this.flags.shared[1] = unlimited;
    const { metrics, plan } = options;
    for (const { name } of plan.monitors) {
      const series = seriesOf(`envoy_overload_${name}_pressure`);
      this.#gauges.set(name, metrics.gauge(series, "Percent of a resource that is used"));
    }
    for (const { name } of plan.actions) {
      const series = seriesOf(`envoy_overload_envoy_overload_actions_${name}_active`);
      this.#gauges.set(name, metrics.gauge(series, "Whether an overload action is on"));
    }
  }

  start(): void {
    if (this.#options.plan.monitors.length > 0) this.#refresh();
  }

  close(): void {
    this.#timer?.cancel();
  }

  #refresh(): void {
    const { plan, clock } = this.#options;
    for (const { name, of, maxBytes } of plan.monitors) {
      const pressure = this.#usedBytes(of) / maxBytes;
      this.#pressures.set(name, pressure);
      this.#gauges.get(name)?.set(Math.round(pressure * 100));
    }
    for (const { name, triggers } of plan.actions) {
      this.#set(name, Math.max(0, ...triggers.map((trigger) => this.#degree(trigger))));
    }
    this.flags.shared[0] =
      (this.#isOn("stop_accepting_requests") ? bit.refusesRequests : 0) |
      (this.#isOn("stop_accepting_connections") ? bit.refusesConnections : 0) |
      (this.#isOn("reject_incoming_connections") ? bit.refusesConnections : 0) |
      (this.#isOn("disable_http_keepalive") ? bit.endsConnections : 0);
    this.flags.shared[1] = this.#room();
    const shrinks = this.#active.get("shrink_heap") ?? 0;
    if (shrinks > 0) this.#shrink(shrinks >= 1);
    const resets = this.#active.get("reset_high_memory_stream") ?? 0;
    if (resets > 0) this.#reset(resets);
    const { hurry } = plan;
    const isHurried = hurry !== undefined && Math.max(...this.#pressures.values()) >= hurry.from;
    const afterMs = isHurried ? hurry.refreshMs : plan.refreshMs;
    this.#timer = clock.schedule(afterMs, () => this.#refresh());
  }

  #usedBytes(of: OverloadPlan["monitors"][number]["of"]): number {
    const { memory, heapElsewhere } = this.#options;
    // Each thread has a heap of its own, with the same limit.
    if (of === "v8-heap") {
      return Math.max(v8.getHeapStatistics().used_heap_size, heapElsewhere?.() ?? 0);
    }
    if (of === "limited") return memory.limited?.usedBytes() ?? 0;
    return memory.anonymousBytes();
  }

  /** Connections that would fit if each took all that it may hold. */
  #room(): number {
    const { holdBytes, monitors } = this.#options.plan;
    let room = unlimited;
    for (const { name, of, maxBytes } of holdBytes === undefined ? [] : monitors) {
      if (of !== "limited") continue;
      const left = (roomUpTo - (this.#pressures.get(name) ?? 0)) * maxBytes;
      room = Math.min(room, Math.max(0, Math.floor(left / (holdBytes ?? 1))));
    }
    return room;
  }

  /** From 0, off, to 1. */
  #degree({ monitor, from, saturated }: OverloadTrigger): number {
    const pressure = this.#pressures.get(monitor) ?? 0;
    if (pressure < from) return 0;
    if (saturated === undefined || pressure >= saturated) return 1;
    return (pressure - from) / (saturated - from);
  }

  #isOn(name: OverloadActionName): boolean {
    return (this.#active.get(name) ?? 0) >= 1;
  }

  #set(name: OverloadActionName, degree: number): void {
    const before = this.#active.get(name) ?? 0;
    this.#active.set(name, degree);
    this.#gauges.get(name)?.set(degree >= 1 ? 1 : 0);
    if (degree > 0 === before > 0) return;
    const pressures = [...this.#pressures].map(([monitor, pressure]): [string, string] => [
      monitor,
      `${Math.round(pressure * 100)} %`,
    ]);
    const { log } = this.#options;
    const fields = { action: name, ...Object.fromEntries(pressures) };
    if (degree > 0) log.warn("overload: an action begins", fields);
    else log.info("overload: an action is over", fields);
  }

  /** What died young is collected each time: dead buffers of bodies above all, within a millisecond. */
  #shrink(isWhole: boolean): void {
    const { clock, collectGarbage, releaseFreed } = this.#options;
    const nowMs = clock.monotonicMs();
    // First of all: it may be that nothing else is to be done.
    const releaseMs = isWhole ? releaseEveryMs.whole : releaseEveryMs.begun;
    if (releaseFreed !== undefined && nowMs - this.#releasedMs >= releaseMs) {
      this.#releasedMs = nowMs;
      releaseFreed();
      return;
    }
    if (isWhole && nowMs - this.#shrunkMs >= shrinkEveryMs) {
      this.#shrunkMs = nowMs;
      collectGarbage("major");
    } else if (nowMs - this.#minorMs >= minorEveryMs) {
      this.#minorMs = nowMs;
      collectGarbage("minor");
    }
  }

  /** The nearer to the end, the smaller a connection's share must be to be spared. */
  #reset(degree: number): void {
    const { plan, resetSlowest } = this.#options;
    resetSlowest(plan.resetFromBytes / 2 ** Math.floor(degree * 4), resetsMax);
  }
}

function seriesOf(name: string): string {
  return name.replaceAll(/[^a-zA-Z0-9_]/g, "_");
}
