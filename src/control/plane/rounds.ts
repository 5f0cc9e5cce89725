/**
 * The rounds in which every proxy's snapshot is made and handed to the ADS server: a change of what they are made
 * from counts a generation, bursts make one round, and one round is under way at a time.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { Problem } from "../../base/problem.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { AdsServer } from "../../xds/ads-server.ts";
import { typeUrls } from "../../xds/feed.ts";
import type { EncodedResource, Snapshot } from "../../xds/snapshot.ts";
import type { Translate } from "../translate.ts";
import type { Configuration } from "./configuration.ts";
import type { ControlMetrics } from "./control-metrics.ts";
import { Debounce } from "./debounce.ts";
import { type MeshState, locator } from "./mesh-state.ts";
import { PeerTable } from "./peer-table.ts";
import { type Locate, ProxySnapshots } from "./proxy-snapshots.ts";

export interface RoundsOptions {
  readonly configuration: Configuration;
  readonly state: MeshState;
  readonly translate: Translate;
  readonly metrics: ControlMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  readonly ads: Pick<AdsServer, "setSnapshot" | "snapshot" | "remove">;
  /** By proxy id, those that snapshots are made for; another map when they change. */
  readonly instances: () => ReadonlyMap<string, WorkloadInstance>;
  /** Every snapshot of a generation is set. */
  readonly onPublished: () => void;
  /** A round has ended, well or not. */
  readonly onEnd: () => void;
}

/** Changes of configuration come in bursts (an editor, a checkout); what runs changes one by one. */
const debounceTimes = { quietMs: 100, longestMs: 250 };
/** Translation lets other work in after this long. */
const sliceMs = 10;

export class Rounds {
  readonly #options: RoundsOptions;
  readonly #snapshots = new ProxySnapshots();
  readonly #peers = new PeerTable();
  readonly #debounce: Debounce;
  #meshProblems: readonly Problem[] = [];
  #generation = 0;
  /** The last generation whose snapshots were made, well or not. */
  #attempted = 0;
  #published = 0;
  /** Proxies whose translation threw: they keep what they have. Why, by proxy. */
  readonly #failed = new Map<string, string>();
  /** When each generation that is not yet everywhere was caused. */
  readonly #causedAtMs = new Map<number, number>();
  #publishing: Promise<void> | undefined;
  #isClosed = false;
  #locate: Locate = () => undefined;

  constructor(options: RoundsOptions) {
    this.#options = options;
    this.#debounce = new Debounce(options.clock, debounceTimes, () => this.#publishSoon());
  }

  /** Counts changes so far. */
  get generation(): number {
    return this.#generation;
  }

  /** The last generation whose snapshots are all set. */
  get published(): number {
    return this.#published;
  }

  /** Finds where resources of the last round's configuration are written. */
  get locate(): Locate {
    return this.#locate;
  }

  get problems(): readonly Problem[] {
    return [
      ...this.#meshProblems,
      ...this.#snapshots.problems(this.#locate),
      ...[...this.#failed].map(([proxyId, reason]) => failedTranslation(proxyId, reason)),
    ];
  }

  snapshot(proxyId: string): Snapshot | undefined {
    return this.#snapshots.get(proxyId);
  }

  hasFailed(proxyId: string): boolean {
    return this.#failed.has(proxyId);
  }

  /** When the proxy's snapshot was caused; undefined when that is long ago. */
  causedAtMs(proxyId: string): number | undefined {
    return this.#causedAtMs.get(Number(this.#snapshots.get(proxyId)?.version ?? 0));
  }

  /** Begins no round any more; resolves when the one under way has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#debounce.cancel();
    await this.#publishing;
  }

  /** Resolves when the snapshots of every change so far are set. */
  async settled(): Promise<void> {
    this.#debounce.flush();
    while (this.#publishing !== undefined) await this.#publishing;
  }

  /** Something that snapshots are made from has changed. */
  onInputs(cause: "config" | "workloads"): void {
    this.#generation += 1;
    this.#causedAtMs.set(this.#generation, this.#options.clock.monotonicMs());
    this.#options.metrics.triggered(cause);
    if (cause === "config") this.#debounce.trigger();
    else this.#publishSoon();
  }

  /** One round at a time; what changed during a round makes the next. */
  #publishSoon(): void {
    if (this.#publishing !== undefined || this.#isClosed) return;
    if (this.#attempted === this.#generation) return;
    this.#publishing = this.#publish()
      .catch((error: unknown) => {
        this.#options.log.error("translation failed", {
          reason: messageOf(error),
          stack: error instanceof Error ? error.stack : undefined,
        });
        this.#meshProblems = [brokenModel(messageOf(error))];
      })
      .finally(() => {
        this.#publishing = undefined;
        // Not again for the same input: it would fail the same way.
        if (this.#attempted < this.#generation && !this.#debounce.isWaiting) this.#publishSoon();
        this.#options.onEnd();
      });
  }

  async #publish(): Promise<void> {
    await nextTurn(); // several messages of one turn make one round
    const { configuration, state, clock, metrics, translate, ads } = this.#options;
    const instances = this.#options.instances();
    const generation = this.#generation;
    this.#attempted = generation;
    const startMs = clock.monotonicMs();
    const config = configuration.current;
    const { model, problems } = state.build(config);
    this.#meshProblems = problems;
    this.#locate = locator(config.resources);
    const peers = this.#peers.update(instances.values());
    this.#snapshots.startRound();
    let sliceStartMs = startMs;
    for (const [proxyId, instance] of instances) {
      this.#update(proxyId, generation, () => [
        ...translate(model, instance),
        [typeUrls.peer, peers],
      ]);
      if (clock.monotonicMs() - sliceStartMs < sliceMs) continue;
      await nextTurn();
      if (this.#isClosed) return;
      sliceStartMs = clock.monotonicMs();
    }
    for (const gone of this.#snapshots.keepOnly(new Set(this.#options.instances().keys()))) {
      ads.remove(gone);
      this.#failed.delete(gone);
    }
    this.#published = generation;
    metrics.services.set(model.services.size);
    metrics.virtualServices.set(model.resources.VirtualService.length);
    metrics.translateSeconds.record((clock.monotonicMs() - startMs) / 1000);
    for (const old of this.#causedAtMs.keys()) {
      if (old < generation - generationsTimed) this.#causedAtMs.delete(old);
    }
    this.#options.onPublished();
  }

  /** A translation that fails harms its own proxy and no other. */
  #update(proxyId: string, generation: number, translate: () => Translated): void {
    const { ads } = this.#options;
    try {
      const snapshot = this.#snapshots.update(proxyId, String(generation), new Map(translate()));
      this.#failed.delete(proxyId);
      if (ads.snapshot(proxyId) !== snapshot) ads.setSnapshot(proxyId, snapshot);
    } catch (error) {
      this.#failed.set(proxyId, messageOf(error));
      this.#options.log.error("translation failed", {
        proxy: proxyId,
        reason: messageOf(error),
        stack: error instanceof Error ? error.stack : undefined,
      });
    }
  }
}

type Translated = readonly (readonly [typeUrl: string, readonly EncodedResource[]])[];

function brokenModel(reason: string): Problem {
  return {
    code: "control.model-failed",
    severity: "error",
    path: "",
    message: `the configuration could not be put together; proxies keep the last one: ${reason}`,
  };
}

function failedTranslation(proxyId: string, reason: string): Problem {
  return {
    code: "control.translation-failed",
    severity: "error",
    path: "",
    message: `proxy ${proxyId} keeps its last configuration: ${reason}`,
  };
}

/** Generations whose time of cause is kept. */
const generationsTimed = 50;

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
