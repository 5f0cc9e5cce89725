/**
 * Searches a codec for inputs that break its promises. Inputs are made from those that took a branch
 * (or took it another order of magnitude of times) that none before had taken; so the search creeps
 * into corners that no list of cases names.
 */
import type { Instrumented } from "./instrument.ts";
import { mutate } from "./mutations.ts";
import { Random } from "./random.ts";

export interface FuzzTarget {
  readonly tokens: readonly Buffer[];
  /** Where the search begins when nothing is kept. */
  readonly seeds: readonly Buffer[];
  readonly bytesMax: number;
  /** Throws when the codec breaks a promise on this input. */
  check(input: Buffer, random: Random): void;
}

export interface FuzzOptions {
  readonly target: FuzzTarget;
  readonly instrumented: Instrumented;
  readonly corpus: readonly Buffer[];
  readonly seed: number;
  /** It goes on until both are reached; seconds on a processor, so that others' work does not make it shorter. */
  readonly secondsMin: number;
  readonly inputsMin: number;
  /** And not beyond this, whatever was reached. */
  readonly secondsMax: number;
}

export interface FuzzOutcome {
  readonly inputs: number;
  readonly seconds: number;
  readonly corpus: readonly Buffer[];
  readonly branches: number;
  readonly taken: number;
  /** `file:line` of branches that no input took. */
  readonly missed: readonly string[];
  readonly failure: FuzzFailure | undefined;
}

export interface FuzzFailure {
  /** As short as it could be made. */
  readonly input: Buffer;
  readonly why: string;
}

/** Orders of magnitude of a count, as bits: once, twice, 3, 4–7, 8–15, … */
const bucketBits = Uint8Array.from({ length: 256 }, (_, count) => {
  if (count < 4) return count === 0 ? 0 : 1 << (count - 1);
  return 1 << Math.min(7, Math.floor(Math.log2(count)) + 1);
});

/** Begins to count; the function tells for how long this thread was on a processor since: never longer than the clock. */
function processorSeconds(): () => number {
  const before = process.threadCpuUsage();
  return () => {
    const { user, system } = process.threadCpuUsage(before);
    return (user + system) / 1e6;
  };
}

export function fuzz(options: FuzzOptions): FuzzOutcome {
  return new Search(options).run();
}

class Search {
  readonly #options: FuzzOptions;
  readonly #random: Random;
  readonly #corpus: Buffer[] = [];
  /** Buckets of counts that some input has reached, by branch. */
  readonly #reached: Uint8Array;
  #inputs = 0;

  constructor(options: FuzzOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#reached = new Uint8Array(options.instrumented.branches.length);
  }

  run(): FuzzOutcome {
    const { target, corpus, secondsMin, secondsMax, inputsMin } = this.#options;
    const seconds = processorSeconds();
    for (const input of [...target.seeds, ...corpus]) {
      const failure = this.#try(input);
      if (failure !== undefined) return this.#outcome(seconds(), failure);
    }
    const from = { corpus: this.#corpus, tokens: target.tokens, bytesMax: target.bytesMax };
    for (;;) {
      if (this.#inputs % 256 === 0) {
        const now = seconds();
        if (now >= secondsMax || (now >= secondsMin && this.#inputs >= inputsMin)) break;
      }
      const failure = this.#try(mutate(this.#parent(), this.#random, from));
      if (failure !== undefined) return this.#outcome(seconds(), failure);
    }
    return this.#outcome(seconds(), undefined);
  }

  /** Of several the shortest, which is the fastest; often one of those found last. */
  #parent(): Buffer {
    const { length } = this.#corpus;
    let parent = this.#corpus[this.#random.below(length)] ?? Buffer.alloc(0);
    for (let draws = this.#random.below(3); draws > 0; draws--) {
      const isLate = this.#random.below(2) === 0;
      const from = isLate ? length - 1 - this.#random.below(Math.min(length, 16)) : 0;
      const other = this.#corpus[isLate ? from : this.#random.below(length)];
      if (other !== undefined && other.length < parent.length) parent = other;
    }
    return parent;
  }

  #try(input: Buffer): FuzzFailure | undefined {
    const why = this.#failureOn(input);
    if (why !== undefined) return this.#shorten(input, why);
    if (this.#isNew() || this.#corpus.length === 0) this.#corpus.push(Buffer.from(input));
    return undefined;
  }

  #failureOn(input: Buffer): string | undefined {
    const { target, instrumented } = this.#options;
    const { hits, branches } = instrumented;
    hits.fill(0);
    this.#inputs++;
    try {
      target.check(input, this.#random);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    for (const [index, branch] of this.#outside) {
      if (hits[index] !== 0) return `reads outside: ${branch}`;
    }
    if (branches.length !== this.#reached.length) throw new Error("a module was loaded late");
    return undefined;
  }

  get #outside(): readonly (readonly [index: number, place: string])[] {
    return (this.#outsideBranches ??= this.#options.instrumented.branches.flatMap((branch, index) =>
      branch.kind === "outside" ? [[index, `${branch.file}:${branch.line}`] as const] : [],
    ));
  }

  #outsideBranches: readonly (readonly [index: number, place: string])[] | undefined;

  #isNew(): boolean {
    const { hits } = this.#options.instrumented;
    const reached = this.#reached;
    let isNew = false;
    for (let index = 0; index < reached.length; index++) {
      const bits = bucketBits[hits[index] ?? 0] ?? 0;
      const before = reached[index] ?? 0;
      if ((bits & ~before) === 0) continue;
      reached[index] = before | bits;
      isNew = true;
    }
    return isNew;
  }

  /** Takes away what the failure does not need. */
  #shorten(input: Buffer, why: string): FuzzFailure {
    let [shortest, reason] = [input, why];
    const untilMs = performance.now() + 2000;
    for (let length = Math.ceil(input.length / 2); length > 0; length = Math.floor(length / 2)) {
      for (let at = 0; at < shortest.length && performance.now() < untilMs;) {
        const less = Buffer.concat([shortest.subarray(0, at), shortest.subarray(at + length)]);
        const stillWhy = this.#failureOn(less);
        if (stillWhy === undefined) at += length;
        else [shortest, reason] = [less, stillWhy];
      }
    }
    return { input: shortest, why: reason };
  }

  #outcome(seconds: number, failure: FuzzFailure | undefined): FuzzOutcome {
    const { branches } = this.#options.instrumented;
    const counted = branches.flatMap((branch, index) =>
      branch.kind === "branch" ? [{ branch, isTaken: this.#reached[index] !== 0 }] : [],
    );
    const missed = counted.filter(({ isTaken }) => !isTaken);
    return {
      inputs: this.#inputs,
      seconds,
      corpus: this.#corpus,
      branches: counted.length,
      taken: counted.length - missed.length,
      missed: missed.map(({ branch }) => `${branch.file}:${branch.line}`),
      failure,
    };
  }
}
