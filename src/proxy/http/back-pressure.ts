/** Who was told to stop sending because the other side is slow: each side at most once. */
import type { Channel } from "../../net/channel.ts";
import type { DownstreamConnection } from "./downstream-connection.ts";

export class BackPressure {
  readonly #downstream: DownstreamConnection;
  #isDownstreamPaused = false;
  #pausedUpstream: Channel | undefined;

  constructor(downstream: DownstreamConnection) {
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
