import type { ResourceRef } from "../../base/problem.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { resourceKey } from "../../model/config-resource.ts";
import type { Snapshot } from "../../xds/snapshot.ts";
import type { ProxyRefusal, WaitOptions, WaitOutcome } from "../control-view.ts";

/** What waiting needs to know of the control plane. */
export interface WaitContext {
  /** Whether the proxy has acknowledged all of its snapshot. */
  readonly isSynced: (proxyId: string) => boolean;
  readonly clock: Clock;
  /** The configuration's generation now, and the one whose snapshots are all set. */
  readonly generation: () => number;
  readonly publishedGeneration: () => number;
  readonly proxies: () => Iterable<string>;
  readonly snapshot: (proxyId: string) => Snapshot | undefined;
  readonly refusals: (proxyId: string) => readonly ProxyRefusal[];
}

/** After a refusal the others have this long to answer: they were sent it at the same moment. */
const graceMs = 500;

/**
 * Those who wait until proxies have acknowledged a change. Whom it concerns is said by whoever waits;
 * else a proxy is concerned when its snapshot changed with that generation or holds something made
 * from one of the resources.
 */
export class Waits {
  readonly #context: WaitContext;
  readonly #waiting = new Set<() => void>();

  constructor(context: WaitContext) {
    this.#context = context;
  }

  /** Something happened that may end a wait. */
  check(): void {
    for (const check of this.#waiting) check();
  }

  wait(
    refs: readonly ResourceRef[],
    options: WaitOptions,
    concerned?: ReadonlySet<string>,
  ): Promise<WaitOutcome> {
    const { clock } = this.#context;
    const generation = options.generation ?? this.#context.generation();
    const awaited = { keys: new Set(refs.map(resourceKey)), generation, concerned };
    return new Promise((resolve) => {
      let grace: Timer | undefined;
      const finish = (outcome: WaitOutcome): void => {
        timer.cancel();
        grace?.cancel();
        this.#waiting.delete(check);
        resolve(outcome);
      };
      const check = (): void => {
        const outcome = this.#outcome(awaited);
        if (this.#context.publishedGeneration() < generation) return;
        if (outcome.pending.length === 0) finish(outcome);
        else if (outcome.refused.length > 0) grace ??= clock.schedule(graceMs, finishNow);
      };
      const finishNow = (): void => finish(this.#outcome(awaited));
      const timer = clock.schedule(options.timeoutMs, finishNow);
      this.#waiting.add(check);
      check();
    });
  }

  #outcome(awaited: Awaited): WaitOutcome {
    const { generation } = awaited;
    const { isSynced, proxies, snapshot, refusals, publishedGeneration } = this.#context;
    const isPublished = publishedGeneration() >= generation;
    const acked: string[] = [];
    const pending: string[] = [];
    const refused: ProxyRefusal[] = [];
    for (const proxy of proxies()) {
      if (!isConcerned(proxy, awaited, { isPublished, snapshot: snapshot(proxy) })) continue;
      const theirs = refusals(proxy).filter(({ origins }) => concerns(awaited, origins));
      if (theirs.length > 0) refused.push(...theirs);
      else if (isPublished && isSynced(proxy)) acked.push(proxy);
      else pending.push(proxy);
    }
    return { acked, pending, refused };
  }
}

/** What somebody waits for. */
interface Awaited {
  readonly keys: ReadonlySet<string>;
  readonly generation: number;
  /** The proxies it concerns, where that is known. */
  readonly concerned: ReadonlySet<string> | undefined;
}

/** A refusal of what was made from nothing may be of anything. */
function concerns({ keys }: Awaited, origins: ProxyRefusal["origins"]): boolean {
  return origins.length === 0 || origins.some(({ ref }) => keys.has(resourceKey(ref)));
}

function isConcerned(
  proxy: string,
  { keys, generation, concerned }: Awaited,
  now: { readonly isPublished: boolean; readonly snapshot: Snapshot | undefined },
): boolean {
  const { isPublished, snapshot } = now;
  if (concerned !== undefined) return concerned.has(proxy);
  if (!isPublished || snapshot === undefined) return true;
  if (Number(snapshot.version) >= generation) return true;
  for (const resources of snapshot.types.values()) {
    for (const { origins } of resources.values()) {
      if (origins.some((ref) => keys.has(resourceKey(ref)))) return true;
    }
  }
  return false;
}
