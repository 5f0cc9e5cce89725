/**
 * The open streams of a connection by their numbers. Numbers grow by two and most streams are short, so
 * places follow from numbers and hardly ever collide. Nothing is allocated for a stream that comes and
 * goes, which maps of the language do.
 */
import type { Http2Stream } from "./http2-stream.ts";

const placesMin = 8;

export class StreamTable {
  size = 0;
  /** A power of two of places, half of them empty at least; none before the first stream. */
  #places: (Http2Stream | undefined)[] = [];

  get(streamId: number): Http2Stream | undefined {
    const places = this.#places;
    const mask = places.length - 1;
    if (this.size === 0) return undefined;
    for (let at = (streamId >>> 1) & mask; ; at = (at + 1) & mask) {
      const stream = places[at];
      if (stream === undefined || stream.id === streamId) return stream;
    }
  }

  has(streamId: number): boolean {
    return this.get(streamId) !== undefined;
  }

  /** Its number must not be there yet. */
  add(stream: Http2Stream): void {
    if ((this.size + 1) * 2 > this.#places.length) this.#grow();
    this.size++;
    this.#put(stream);
  }

  #put(stream: Http2Stream): void {
    const places = this.#places;
    const mask = places.length - 1;
    let at = (stream.id >>> 1) & mask;
    while (places[at] !== undefined) at = (at + 1) & mask;
    places[at] = stream;
  }

  #grow(): void {
    const before = this.#places;
    const length = Math.max(placesMin, before.length * 2);
    this.#places = Array.from({ length }, () => undefined);
    for (const stream of before) if (stream !== undefined) this.#put(stream);
  }

  delete(streamId: number): void {
    if (this.size === 0) return;
    const places = this.#places;
    const mask = places.length - 1;
    let hole = (streamId >>> 1) & mask;
    while (places[hole]?.id !== streamId) {
      if (places[hole] === undefined) return;
      hole = (hole + 1) & mask;
    }
    this.size--;
    // Whoever was put further on because of it moves up, or would not be found any more.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const stream = places[at];
      if (stream === undefined) break;
      const wanted = (stream.id >>> 1) & mask;
      if (((at - wanted) & mask) < ((at - hole) & mask)) continue;
      places[hole] = stream;
      hole = at;
    }
    places[hole] = undefined;
  }

  /** Without streams: keeps no memory for so many as there were once. */
  trim(): void {
    if (this.size === 0 && this.#places.length > placesMin) this.#places = [];
  }

  /** Those of now, whatever becomes of them meanwhile. */
  values(): readonly Http2Stream[] {
    const streams: Http2Stream[] = [];
    for (const stream of this.#places) if (stream !== undefined) streams.push(stream);
    return streams;
  }
}
