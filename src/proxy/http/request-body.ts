/**
 * The part of a request's body that cannot be sent yet, or may have to be sent again. Bounded: beyond
 * its limit a body is not kept for retries, and while it waits the client is told to stop.
 */
import type { Http1Head } from "../../wire/http1-head.ts";

export class RequestBody {
  readonly pieces: Buffer[] = [];
  bytes = 0;
  /** All of the body received so far is in `pieces`. */
  isWhole = true;
  isComplete = false;
  trailers: Http1Head | undefined = undefined;
  /** What may be kept. */
  bytesMax = 0;

  reset(bytesMax: number): void {
    this.bytesMax = bytesMax;
    if (this.pieces.length > 0) this.pieces.length = 0;
    this.bytes = 0;
    this.isWhole = true;
    this.isComplete = false;
    this.trailers = undefined;
  }

  /** Copies: the bytes belong to their reader. */
  keep(chunk: Buffer, from: number, to: number): void {
    // One object: a part of the chunk would be another.
    const piece = Buffer.allocUnsafe(to - from);
    chunk.copy(piece, 0, from, to);
    this.pieces.push(piece);
    this.bytes += to - from;
  }

  /** What is kept, in another form; false where it has none. */
  recode(code: (piece: Buffer) => Buffer | undefined): boolean {
    const { pieces } = this;
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
    this.pieces.length = 0;
    this.bytes = 0;
    this.isWhole = false;
  }
}

const none = Buffer.alloc(0);
