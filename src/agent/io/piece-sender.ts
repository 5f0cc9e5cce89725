/**
 * Sends a text that comes in pieces through one small buffer that is kept: an answer of megabytes that is
 * read every two seconds would otherwise be held, or leave garbage that V8 hardly sees.
 */
const bufferBytes = 64 * 1024;
/** A UTF-16 unit takes no more in UTF-8. */
const bytesPerUnitMax = 3;

/** Resolves when the bytes may be written over: false when nobody reads any more. */
export type SendBytes = (bytes: Uint8Array) => Promise<boolean>;

export class PieceSender {
  /** Undefined while an answer is on its way; one that comes meanwhile has a buffer of its own. */
  #kept: Buffer | undefined;
  #isTaken = false;

  /** The next piece is asked for when those before it have been sent. */
  async send(pieces: Iterable<string>, sendBytes: SendBytes): Promise<void> {
    const isOurs = !this.#isTaken;
    const buffer = (isOurs ? this.#kept : undefined) ?? Buffer.allocUnsafeSlow(bufferBytes);
    if (isOurs) {
      this.#isTaken = true;
      this.#kept = buffer;
    }
    try {
      await sendThrough(buffer, pieces, sendBytes);
    } finally {
      if (isOurs) this.#isTaken = false;
    }
  }
}

async function sendThrough(
  buffer: Buffer,
  pieces: Iterable<string>,
  sendBytes: SendBytes,
): Promise<void> {
  let length = 0;
  for (const piece of pieces) {
    const lengthMax = piece.length * bytesPerUnitMax;
    if (length > 0 && length + lengthMax > buffer.length) {
      if (!(await sendBytes(buffer.subarray(0, length)))) return;
      length = 0;
    }
    if (lengthMax > buffer.length) {
      if (!(await sendBytes(Buffer.from(piece)))) return;
    } else {
      length += buffer.write(piece, length);
    }
  }
  if (length > 0) await sendBytes(buffer.subarray(0, length));
}
