/**
 * Who was told to stop sending because the other side is slow: each side at most once. And which
 * content needs no gathering: it is sent from where it was received.
 */
import type { Channel } from "../../net/channel.ts";
import type { Downstream } from "./downstream.ts";

const passedBytesMin = 4096;

/** Content that fills a chunk from its start, and is enough to be worth a write of its own. */
export function isPassed(from: number, to: number): boolean {
  return from === 0 && to >= passedBytesMin;
}

export class BackPressure {
  readonly #downstream: Downstream;
  #isDownstreamPaused = false;
  #pausedUpstream: Channel | undefined;

  constructor(downstream: Downstream) {
    this.#downstream = downstream;
  }

  /** Sends the first `length` bytes of a chunk from the client. */
  pass(upstream: Channel | undefined, chunk: Buffer, length: number): void {
    if (upstream?.writeShared(chunk, length) === false) this.pauseDownstream();
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

  pauseUpstream(channel: Channel | undefined): void {
    if (this.#pausedUpstream !== undefined || channel === undefined) return;
    this.#pausedUpstream = channel;
    channel.pause();
  }

  resumeUpstream(): void {
    const channel = this.#pausedUpstream;
    this.#pausedUpstream = undefined;
    if (channel !== undefined && !channel.isClosed) channel.resume();
  }
}
