/** The streams that closed last, by which a late frame is told from a wrong one. */

/** A peer whose frames are older than this has had its answer. */
const remembered = 128;

export class ClosedStreams {
  readonly #ids: Int32Array = new Int32Array(remembered);
  /** 1 where we broke it off, so that late frames are no error. */
  readonly #byUs: Uint8Array = new Uint8Array(remembered);
  #next = 0;

  add(streamId: number, byUs: boolean): void {
    this.#ids[this.#next] = streamId;
    this.#byUs[this.#next] = byUs ? 1 : 0;
    this.#next = (this.#next + 1) % remembered;
  }

  /** `forgotten`: too long ago, or never begun. */
  find(streamId: number): "by-us" | "ended" | "forgotten" {
    const place = this.#ids.indexOf(streamId);
    if (place < 0) return "forgotten";
    return this.#byUs[place] === 1 ? "by-us" : "ended";
  }
}
