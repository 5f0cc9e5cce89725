/**
 * What the proxy decided about single requests, for people who look: a share of all requests, every
 * one that failed or was slow, and while somebody watches, those that he asked for. Rings of fixed
 * size hold them, so many a second; what does not fit is counted, and the count is told.
 *
 * Nothing in a record is a secret of the request: no header but its id, no query of its path.
 */
import type { Clock } from "../../base/clock.ts";
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { type Decision, decisionOf } from "./decision.ts";
import { matcherOf, parseTapQuery, type TapQuery } from "./tap-query.ts";

export interface TapOptions {
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Share of all requests that are kept; one in a hundred unless told. */
  readonly share?: number;
}

/** Of one thread, or of several together. */
export interface TapAnswer {
  /** In the order in which they ended. */
  readonly requests: readonly Decision[];
  /** For the next question: what comes after this. */
  readonly upTo: number;
  /** Requests that were to be kept and were too many, since the proxy started. */
  readonly leftOut: number;
}

const slowMs = 1000;
const ringSize = 256;
/** Records made in a second, at most, for reasons of the proxy's and for those who watch. */
const perSecondMax = 100;
const watchedPerSecondMax = 500;
/** A watcher asks again before this. */
const watchMs = 5000;
const watchersMax = 16;

interface Watcher {
  readonly matches: (record: RequestRecord) => boolean;
  untilMs: number;
}

export class Tap {
  readonly #options: TapOptions;
  readonly #share: number;
  /** Failed and slow ones, which must not be pushed out by the others. */
  readonly #notable = new Ring();
  readonly #others = new Ring();
  readonly #watchers = new Map<string, Watcher>();
  readonly #kept: Counter;
  readonly #tooMany: Counter;
  #second = 0;
  #made = 0;
  #watched = 0;
  #leftOut = 0;
  #lastSequence = 0;

  constructor(options: TapOptions) {
    this.#options = options;
    this.#share = options.share ?? 0.01;
    const counter = (outcome: string): Counter =>
      options.metrics.counter("heddle_request_records_total", "Requests kept for heddle tap.", {
        outcome,
      });
    this.#kept = counter("kept");
    this.#tooMany = counter("left_out");
  }

  /** Once for each request that has ended. */
  onEnd(record: RequestRecord): void {
    const reason = this.#reasonFor(record);
    if (reason === undefined) return;
    this.#startSecond(record);
    const isWatched = reason === "watched";
    const made = isWatched ? ++this.#watched : ++this.#made;
    if (made > (isWatched ? watchedPerSecondMax : perSecondMax)) {
      this.#leftOut++;
      this.#tooMany.add();
      return;
    }
    this.#kept.add();
    const ring = reason === "failed" || reason === "slow" ? this.#notable : this.#others;
    ring.add(decisionOf(record, this.#nextSequence(), reason));
  }

  #reasonFor(record: RequestRecord): Decision["reason"] | undefined {
    if (hasFailed(record)) return "failed";
    if (record.durationMs >= slowMs) return "slow";
    if (this.#watchers.size > 0 && this.#isWatched(record)) return "watched";
    return this.#options.random() < this.#share ? "sampled" : undefined;
  }

  #isWatched(record: RequestRecord): boolean {
    for (const [key, watcher] of this.#watchers) {
      if (record.startMonotonicMs + record.durationMs > watcher.untilMs) this.#watchers.delete(key);
      else if (watcher.matches(record)) return true;
    }
    return false;
  }

  #startSecond({ startMonotonicMs, durationMs }: RequestRecord): void {
    const second = Math.floor((startMonotonicMs + durationMs) / 1000);
    if (second === this.#second) return;
    this.#second = second;
    this.#made = 0;
    this.#watched = 0;
  }

  /** Of the clock of day, so that threads agree on the order; never the same twice. */
  #nextSequence(): number {
    this.#lastSequence = Math.max(this.#lastSequence + 1, this.#now());
    return this.#lastSequence;
  }

  #now(): number {
    return Math.floor(this.#options.clock.nowMs()) * 1000;
  }

  /**
   * What was kept after `after`, or the last ones; a question with `after` is a watcher's, and for a
   * while all that it asks for is kept. Throws what is wrong with the query.
   */
  read(query: string): TapAnswer {
    const asked = parseTapQuery(query);
    const requests = [...this.#notable.all(), ...this.#others.all()]
      .filter((decision) => asked.matches(decision))
      .toSorted((a, b) => a.sequence - b.sequence);
    const answer = { upTo: Math.max(this.#lastSequence, this.#now() - 1), leftOut: this.#leftOut };
    if (asked.follows) this.#watch(asked);
    if (asked.after === undefined) {
      return { ...answer, requests: asked.last === 0 ? [] : requests.slice(-asked.last) };
    }
    const { after } = asked;
    return { ...answer, requests: requests.filter(({ sequence }) => sequence > after) };
  }

  #watch(query: TapQuery): void {
    const untilMs = this.#options.clock.monotonicMs() + watchMs;
    const known = this.#watchers.get(query.key);
    if (known !== undefined) known.untilMs = untilMs;
    else if (this.#watchers.size < watchersMax) {
      this.#watchers.set(query.key, { matches: matcherOf(query), untilMs });
    }
  }
}

/** Answers of several threads: only what all of them have told of, so that nothing is passed over. */
export function mergeTaps(answers: readonly TapAnswer[]): TapAnswer {
  const upTo = Math.min(...answers.map((answer) => answer.upTo));
  const requests = answers
    .flatMap((answer) => answer.requests)
    .filter(({ sequence }) => sequence <= upTo)
    .toSorted((a, b) => a.sequence - b.sequence);
  const leftOut = answers.reduce((sum, answer) => sum + answer.leftOut, 0);
  return { requests, upTo: answers.length === 0 ? 0 : upTo, leftOut };
}

/** The upstream's 4xx are answers; the proxy's own are refusals. */
export function hasFailed({ responseCode, responseCodeDetails }: RequestRecord): boolean {
  if (responseCode >= 500 || responseCode === 0) return true;
  return responseCode >= 400 && responseCodeDetails !== "via_upstream";
}

/** The last so many. */
class Ring {
  readonly #items: Decision[] = [];
  #next = 0;

  add(item: Decision): void {
    this.#items[this.#next] = item;
    this.#next = (this.#next + 1) % ringSize;
  }

  all(): readonly Decision[] {
    return this.#items;
  }
}
