/**
 * The part of a request's body that cannot be sent yet, or may have to be sent again. Bounded: beyond
 * its limit a body is not kept for retries, and while it waits the client is told to stop.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { PieceJoiner } from "../../wire/joined-pieces.ts";

/** Of every body that keeps none; nothing is ever put into it. */
const noPieces: Buffer[] = [];

export class RequestBody {
  pieces: Buffer[] = noPieces;
  bytes = 0;
  /** All of the body received so far is in `pieces`. */
  isWhole = true;
  isComplete = false;
  trailers: Http1Head | undefined = undefined;
  /** What may be kept. */
  bytesMax = 0;
  #joiner: PieceJoiner | undefined = undefined;

  reset(bytesMax: number): void {
    this.bytesMax = bytesMax;
    this.pieces = noPieces;
    this.#joiner?.reset();
    this.bytes = 0;
    this.isWhole = true;
    this.isComplete = false;
    this.trailers = undefined;
  }

  /** Copies: the bytes belong to their reader. */
  keep(chunk: Buffer, from: number, to: number): void {
    // Most are one piece, and an array that is pushed to when empty makes room for 17.
    if (this.pieces.length === 0) this.pieces = [copyOf(chunk, from, to)];
    else (this.#joiner ??= new PieceJoiner()).add(this.pieces, chunk, from, to);
    this.bytes += to - from;
  }

  /** What is kept, in another form; false where it has none. */
  recode(code: (piece: Buffer) => Buffer | undefined): boolean {
    const { pieces } = this;
    this.#joiner?.reset();
    this.bytes = 0;
    for (let at = 0; at < pieces.length; at++) {
      const coded = code(pieces[at] ?? none);
      if (coded === undefined) return false;
      pieces[at] = coded;
      this.bytes += coded.length;
    }
    return true;
  }

  /** No retry any more: what was sent need not be remembered. */
  forget(): void {
    this.pieces = noPieces;
    this.#joiner?.reset();
    this.bytes = 0;
    this.isWhole = false;
  }
}

const none = Buffer.alloc(0);

/** One object: a part of the chunk would be another. */
function copyOf(chunk: Buffer, from: number, to: number): Buffer {
  const piece = Buffer.allocUnsafe(to - from);
  chunk.copy(piece, 0, from, to);
  return piece;
}
