/**
 * The bytes of an answer whose text comes in pieces, in memory that is kept from one answer to the next:
 * what is read every two seconds would otherwise leave megabytes of buffers, which V8 hardly sees.
 */
const bytesMin = 64 * 1024;
/** A UTF-16 unit takes no more in UTF-8. */
const bytesPerUnitMax = 3;

export interface HeldBytes {
  readonly bytes: Uint8Array;
  /** Once they are sent: the next answer is written over them. */
  readonly release: () => void;
}

export class AnswerBytes {
  /** Undefined while an answer is on its way; one that comes meanwhile has memory of its own. */
  #kept: Buffer | undefined = Buffer.alloc(0);

  hold(pieces: Iterable<string>): HeldBytes {
    let memory = this.#kept ?? Buffer.alloc(0);
    this.#kept = undefined;
    let length = 0;
    for (const piece of pieces) {
      const lengthMax = length + piece.length * bytesPerUnitMax;
      if (lengthMax > memory.length) {
        const larger = Buffer.allocUnsafeSlow(Math.max(bytesMin, lengthMax, memory.length * 2));
        memory.copy(larger, 0, 0, length);
        memory = larger;
      }
      length += memory.write(piece, length);
    }
    let isHeld = true;
    return {
      bytes: memory.subarray(0, length),
      release: () => {
        if (isHeld && memory.length >= (this.#kept?.length ?? 0)) this.#kept = memory;
        isHeld = false;
      },
    };
  }
}
