/**
 * Frames that cost their sender little and the receiver much, counted: what a peer may do is a number
 * here, and beyond it the connection ends (RFC 9113 section 10.5). Numbers are Envoy's where it has one.
 */

export type Flood =
  | "empty-frames"
  | "priority"
  | "window-updates"
  | "control-frames"
  | "outbound-frames"
  | "resets"
  | "header-frames";

export interface FloodLimits {
  /** Frames in a row without content that do not end anything. */
  readonly emptyFramesMax: number;
  readonly priorityPerStreamMax: number;
  readonly windowUpdatesPerDataMax: number;
  /** Answers (to PING, SETTINGS, and RST_STREAM) that wait for a peer that does not read. */
  readonly controlFramesMax: number;
  /** Frames of any kind that wait for it. */
  readonly outboundFramesMax: number;
  /**
   * Streams that ended before their answer: because the peer said so (CVE-2023-44487), or because of
   * what it did to them (CVE-2025-8671). So many at once, and 33 more each second after.
   */
  readonly resetsMax: number;
}

export const defaultFloodLimits: FloodLimits = {
  emptyFramesMax: 1,
  priorityPerStreamMax: 100,
  windowUpdatesPerDataMax: 10,
  controlFramesMax: 1000,
  outboundFramesMax: 10_000,
  resetsMax: 1000,
};

const resetsPerSecond = 33;
/** HEADERS and CONTINUATION frames of one block (CVE-2024-27919); a head of 60 KiB takes five. */
const headerFramesMax = 16;

export class FloodGuard {
  readonly #limits: FloodLimits;
  streams = 0;
  dataFramesSent = 0;
  #emptyFrames = 0;
  #priorities = 0;
  #windowUpdates = 0;
  #controlFrames = 0;
  #outboundFrames = 0;
  #headerFrames = 0;
  #resets = 0;
  #resetsAtMs = 0;

  constructor(limits: FloodLimits) {
    this.#limits = limits;
  }

  /** A frame that may have content. Undefined while all is well, as from the others. */
  onContent(isEmpty: boolean): Flood | undefined {
    if (!isEmpty) {
      this.#emptyFrames = 0;
      return undefined;
    }
    return ++this.#emptyFrames > this.#limits.emptyFramesMax ? "empty-frames" : undefined;
  }

  onPriority(): Flood | undefined {
    const max = this.#limits.priorityPerStreamMax * (1 + this.streams);
    return ++this.#priorities > max ? "priority" : undefined;
  }

  onWindowUpdate(): Flood | undefined {
    const { windowUpdatesPerDataMax } = this.#limits;
    const max = 5 + 2 * (this.streams + windowUpdatesPerDataMax * this.dataFramesSent);
    return ++this.#windowUpdates > max ? "window-updates" : undefined;
  }

  /** A frame of a header block; `isFirst`: HEADERS. */
  onHeaderFrame(isFirst: boolean): Flood | undefined {
    this.#headerFrames = isFirst ? 1 : this.#headerFrames + 1;
    return this.#headerFrames > headerFramesMax ? "header-frames" : undefined;
  }

  onReset(nowMs: number): Flood | undefined {
    const elapsedMs = nowMs - this.#resetsAtMs;
    this.#resetsAtMs = nowMs;
    this.#resets = Math.max(0, this.#resets - (elapsedMs * resetsPerSecond) / 1000) + 1;
    return this.#resets > this.#limits.resetsMax ? "resets" : undefined;
  }

  /** A frame was written. */
  onSent(isControl: boolean): void {
    this.#outboundFrames++;
    if (isControl) this.#controlFrames++;
  }

  /** What was written has left: the peer reads. */
  onRead(): void {
    this.#outboundFrames = 0;
    this.#controlFrames = 0;
  }

  /** Whether too much waits. */
  get outbound(): Flood | undefined {
    if (this.#resets > this.#limits.resetsMax) return "resets";
    if (this.#controlFrames > this.#limits.controlFramesMax) return "control-frames";
    return this.#outboundFrames > this.#limits.outboundFramesMax ? "outbound-frames" : undefined;
  }
}
