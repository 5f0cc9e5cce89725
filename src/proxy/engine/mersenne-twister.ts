/** MT19937: random numbers that a seed determines, the same as C++'s `std::mt19937`. */
const size = 624;
const middle = 397;

export class MersenneTwister {
  readonly #state = new Uint32Array(size);
  #at = size;

  seed(seed: number): void {
    const state = this.#state;
    state[0] = seed >>> 0;
    for (let i = 1; i < size; i++) {
      const before = state[i - 1] ?? 0;
      state[i] = (Math.imul(1_812_433_253, before ^ (before >>> 30)) + i) >>> 0;
    }
    this.#at = size;
  }

  /** Of 32 bits, without sign. */
  next(): number {
    if (this.#at === size) this.#twist();
    let value = this.#state[this.#at++] ?? 0;
    value ^= value >>> 11;
    value ^= (value << 7) & 0x9d2c_5680;
    value ^= (value << 15) & 0xefc6_0000;
    value ^= value >>> 18;
    return value >>> 0;
  }

  /** Uniform in [0, `limit`); the same numbers on every platform. */
  below(limit: number): number {
    const part = Math.floor(0x1_0000_0000 / limit);
    for (;;) {
      const drawn = Math.floor(this.next() / part);
      if (drawn < limit) return drawn;
    }
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < size; i++) {
      const bits = ((state[i] ?? 0) & 0x8000_0000) | ((state[(i + 1) % size] ?? 0) & 0x7fff_ffff);
      const turned = (bits >>> 1) ^ ((bits & 1) === 0 ? 0 : 0x9908_b0df);
      state[i] = ((state[(i + middle) % size] ?? 0) ^ turned) >>> 0;
    }
    this.#at = 0;
  }
}
