/**
 * Who was told to stop sending because the other side is slow: each side at most once. And which
 * content needs no gathering: it is sent from where it was received.
 */
import type { Downstream } from "./downstream.ts";
import type { UpstreamExchange } from "./upstream-exchange.ts";

const passedBytesMin = 4096;

/** Content that fills a chunk from its start, and is enough to be worth a write of its own. */
export function isPassed(from: number, to: number): boolean {
  return from === 0 && to >= passedBytesMin;
}

export class BackPressure {
  readonly #downstream: Downstream;
  #isDownstreamPaused = false;
  #pausedUpstream: UpstreamExchange | undefined;

  constructor(downstream: Downstream) {
    this.#downstream = downstream;
  }

  pauseDownstream(): void {
    if (this.#isDownstreamPaused) return;
    this.#isDownstreamPaused = true;
    this.#downstream.pause();
  }

  resumeDownstream(): void {
    if (!this.#isDownstreamPaused) return;
    this.#isDownstreamPaused = false;
    this.#downstream.resume();
  }

  pauseUpstream(upstream: UpstreamExchange | undefined): void {
    if (this.#pausedUpstream !== undefined || upstream === undefined) return;
    this.#pausedUpstream = upstream;
    upstream.pause();
  }

  resumeUpstream(): void {
    const upstream = this.#pausedUpstream;
    this.#pausedUpstream = undefined;
    upstream?.resume();
  }
}
