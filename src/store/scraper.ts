/**
 * Asks every target for its metrics at a fixed pace and hands the text to the store. One tick scrapes
 * all targets with one time, so that sums over targets add what was true at one moment. A target
 * that has not answered when the next tick comes is left out of it, not asked twice.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import type { RequestHttp } from "../net/http-request.ts";
import type { Logger } from "../telemetry/logger.ts";
import { labelSetOf } from "./label-set.ts";
import type { LabelRecord } from "./metrics-source.ts";
import type { MetricsStore } from "./metrics-store.ts";

export interface ScrapeTarget {
  /** Where the metrics are; also what tells targets apart. */
  readonly url: string;
  /** Added to every series. */
  readonly labels: LabelRecord;
}

export interface ScraperOptions {
  readonly store: MetricsStore;
  readonly targets: () => readonly ScrapeTarget[];
  readonly request: RequestHttp;
  readonly clock: Clock;
  readonly log: Logger;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

export interface Scraper {
  /** Scrapes now and then at every interval. */
  start(): void;
  /** One round; ends when every target has answered or failed. */
  scrapeOnce(): Promise<void>;
  health(): ScrapeHealth;
  close(): void;
}

export interface ScrapeHealth {
  readonly targets: number;
  readonly targetsUp: number;
  /** Age of the oldest of the targets' last good scrapes; undefined before the first. */
  readonly staleMs: number | undefined;
  /** Why targets are down, by URL. */
  readonly failures: Readonly<Record<string, string>>;
}

const responseBytesMax = 32 * 1024 * 1024;
const concurrentMax = 8;

interface TargetState {
  isBusy: boolean;
  lastGoodMs: number | undefined;
  failure: string | undefined;
}

export function createScraper(options: ScraperOptions): Scraper {
  const { store, clock, log } = options;
  const states = new Map<string, TargetState>();
  let timer: Timer | undefined;
  let isClosed = false;

  const scrape = async ({ url }: ScrapeTarget, state: TargetState, atMs: number): Promise<void> => {
    state.isBusy = true;
    const failure = await scrapeTarget(options, url, atMs);
    state.isBusy = false;
    if (isClosed) return;
    if (failure === undefined) state.lastGoodMs = atMs;
    else if (state.failure === undefined) log.warn("metrics cannot be scraped", { url, failure });
    state.failure = failure;
  };

  const scrapeOnce = async (): Promise<void> => {
    const atMs = clock.nowMs();
    const waiting = [...follow(options, states, atMs)];
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        await scrape(next.target, next.state, atMs);
      }
    };
    await Promise.all(Array.from({ length: concurrentMax }, work));
    store.expire(clock.nowMs());
  };

  const tick = (): void => {
    if (isClosed) return;
    timer = clock.schedule(options.intervalMs, tick);
    scrapeOnce().catch((error: unknown) => {
      log.error("scraping failed", { reason: messageOf(error) });
    });
  };

  return {
    start: tick,
    scrapeOnce,
    health: () => healthOf(states, clock.nowMs()),
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

/** Adds targets that came, forgets those that went, and gives those that can be asked now. */
function follow(
  { store, targets }: ScraperOptions,
  states: Map<string, TargetState>,
  atMs: number,
): readonly { readonly target: ScrapeTarget; readonly state: TargetState }[] {
  const wanted = new Map(targets().map((target) => [target.url, target]));
  for (const url of states.keys()) {
    if (wanted.has(url)) continue;
    states.delete(url);
    store.removeTarget(url, atMs);
  }
  const ready: { readonly target: ScrapeTarget; readonly state: TargetState }[] = [];
  for (const target of wanted.values()) {
    let state = states.get(target.url);
    if (state === undefined) {
      state = { isBusy: false, lastGoodMs: undefined, failure: undefined };
      states.set(target.url, state);
      store.addTarget(target.url, labelSetOf(Object.entries(target.labels)));
    }
    if (!state.isBusy) ready.push({ target, state });
  }
  return ready;
}

async function scrapeTarget(
  { store, request, timeoutMs }: ScraperOptions,
  url: string,
  atMs: number,
): Promise<string | undefined> {
  try {
    const { status, text } = await request({ url, timeoutMs, responseBytesMax });
    if (status !== 200) throw new Error(`status ${status}`);
    const outcome = store.ingest(url, text, atMs);
    if (outcome.kind === "read") return undefined;
    return `line ${outcome.error.line}: ${outcome.error.reason}`;
  } catch (error) {
    store.markDown(url, atMs);
    return messageOf(error);
  }
}

function healthOf(states: ReadonlyMap<string, TargetState>, nowMs: number): ScrapeHealth {
  const all = [...states];
  const ages = all.flatMap(([, { lastGoodMs }]) => lastGoodMs ?? []).map((at) => nowMs - at);
  return {
    targets: all.length,
    targetsUp: all.filter(
      ([, { failure, lastGoodMs }]) => failure === undefined && lastGoodMs !== undefined,
    ).length,
    staleMs: ages.length === 0 ? undefined : Math.max(...ages),
    failures: Object.fromEntries(
      all.flatMap(([url, { failure }]) => (failure === undefined ? [] : [[url, failure]])),
    ),
  };
}
