/**
 * What waits for the collectors of a thread, all together: each queue has a bound of its own, but how
 * many there are is for configuration to say. Soft by one report, whose size nobody knows before it is
 * encoded.
 */
const bytesMaxDefault = 16 * 1024 * 1024;

export class ReportMemory {
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number = bytesMaxDefault) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Nothing more may wait, for nobody. */
  get isFull(): boolean {
    return this.#bytes >= this.#bytesMax;
  }

  /** So much more waits, or less. */
  change(bytes: number): void {
    this.#bytes += bytes;
  }
}
