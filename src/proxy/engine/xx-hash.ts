/**
 * XXH64, the hash of Envoy's ring and Maglev balancers and of its hash policies. In halves of 32 bits:
 * with `bigint` every step of every request would be garbage.
 */

/** Two int32: the upper and the lower half. */
type Halves = readonly [hi: number, lo: number];

const prime1: Halves = [0x9e3779b1 | 0, 0x85ebca87 | 0];
const prime2: Halves = [0xc2b2ae3d | 0, 0x27d4eb4f | 0];
const prime3: Halves = [0x165667b1 | 0, 0x9e3779f9 | 0];
const prime4: Halves = [0x85ebca77 | 0, 0xc2b2ae63 | 0];
const prime5: Halves = [0x27d4eb2f | 0, 0x165667c5 | 0];

/** A number of 64 bits that is worked on in place. */
export class Hash64 {
  hi = 0;
  lo = 0;

  toBigInt(): bigint {
    return (BigInt(this.hi >>> 0) << 32n) | BigInt(this.lo >>> 0);
  }

  /** The upper 53 bits: what a number holds exactly, and what balancers compare. */
  toNumber(): number {
    return (this.hi >>> 0) * 0x20_0000 + (this.lo >>> 11);
  }

  set(hi: number, lo: number): void {
    this.hi = hi | 0;
    this.lo = lo | 0;
  }

  add(hi: number, lo: number): void {
    const sum = (this.lo >>> 0) + (lo >>> 0);
    this.hi = (this.hi + hi + (sum > 0xffff_ffff ? 1 : 0)) | 0;
    this.lo = sum | 0;
  }

  plus(other: Halves): void {
    this.add(other[0], other[1]);
  }

  xor(hi: number, lo: number): void {
    this.hi ^= hi;
    this.lo ^= lo;
  }

  multiply(by: Halves): void {
    const hi = by[0];
    const lo = by[1];
    const low = this.lo;
    const a0 = low & 0xffff;
    const a1 = low >>> 16;
    const b0 = lo & 0xffff;
    const b1 = lo >>> 16;
    const p00 = Math.imul(a0, b0);
    const p01 = Math.imul(a0, b1);
    const p10 = Math.imul(a1, b0);
    const middle = (p00 >>> 16) + (p01 & 0xffff) + (p10 & 0xffff);
    const carry = (p01 >>> 16) + (p10 >>> 16) + (middle >>> 16) + (Math.imul(a1, b1) >>> 0);
    this.lo = (middle << 16) | (p00 & 0xffff);
    this.hi = (carry + Math.imul(this.hi, lo) + Math.imul(low, hi)) | 0;
  }

  /** To the left, by 1 to 31 bits. */
  rotate(bits: number): void {
    const { hi, lo } = this;
    this.hi = (hi << bits) | (lo >>> (32 - bits));
    this.lo = (lo << bits) | (hi >>> (32 - bits));
  }

  /** Text is one character per byte (latin1), as headers and addresses are. */
  ofText(text: string, seed = 0): this {
    const { length } = text;
    let at = 0;
    if (length >= 32) {
      at = this.#stripes(text, seed);
    } else {
      this.set(0, seed);
      this.plus(prime5);
    }
    this.add(0, length);
    this.#tail(text, at);
    this.lo ^= this.hi >>> 1;
    this.multiply(prime2);
    this.lo ^= (this.lo >>> 29) | (this.hi << 3);
    this.hi ^= this.hi >>> 29;
    this.multiply(prime3);
    this.lo ^= this.hi;
    return this;
  }

  /** Where the last whole 32 bytes end. */
  #stripes(text: string, seed: number): number {
    for (const lane of lanes) lane.set(0, seed);
    lanes[0].plus(prime1);
    lanes[0].plus(prime2);
    lanes[1].plus(prime2);
    // seed - prime1: its two's complement.
    lanes[3].add(~prime1[0], ~prime1[1]);
    lanes[3].add(0, 1);
    let at = 0;
    for (; at + 32 <= text.length; at += 32) {
      for (let lane = 0; lane < 4; lane++) {
        lanes[lane]?.round(word(text, at + lane * 8 + 4), word(text, at + lane * 8));
      }
    }
    this.set(0, 0);
    for (const [i, bits] of [1, 7, 12, 18].entries()) {
      const lane = lanes[i] ?? this;
      scratch.set(lane.hi, lane.lo);
      scratch.rotate(bits);
      this.add(scratch.hi, scratch.lo);
    }
    for (const lane of lanes) {
      this.#merge(lane.hi, lane.lo);
      this.multiply(prime1);
      this.plus(prime4);
    }
    return at;
  }

  #tail(text: string, start: number): void {
    let at = start;
    for (; at + 8 <= text.length; at += 8) {
      this.#merge(word(text, at + 4), word(text, at));
      this.rotate(27);
      this.multiply(prime1);
      this.plus(prime4);
    }
    if (at + 4 <= text.length) {
      scratch.set(0, word(text, at));
      scratch.multiply(prime1);
      this.xor(scratch.hi, scratch.lo);
      this.rotate(23);
      this.multiply(prime2);
      this.plus(prime3);
      at += 4;
    }
    for (; at < text.length; at++) {
      scratch.set(0, text.charCodeAt(at) & 0xff);
      scratch.multiply(prime5);
      this.xor(scratch.hi, scratch.lo);
      this.rotate(11);
      this.multiply(prime1);
    }
  }

  /** Mixes 8 bytes in. */
  round(hi: number, lo: number): void {
    mixed.set(hi, lo);
    mixed.multiply(prime2);
    this.add(mixed.hi, mixed.lo);
    this.rotate(31);
    this.multiply(prime1);
  }

  /** Combines with a round that began with nothing. */
  #merge(hi: number, lo: number): void {
    scratch.set(0, 0);
    scratch.round(hi, lo);
    this.xor(scratch.hi, scratch.lo);
  }
}

// Of one hash at a time: nothing here waits or calls back.
const mixed = new Hash64();
const scratch = new Hash64();
const lanes = [new Hash64(), new Hash64(), new Hash64(), new Hash64()] as const;

/** Little-endian. */
function word(text: string, at: number): number {
  return (
    (text.charCodeAt(at) & 0xff) |
    ((text.charCodeAt(at + 1) & 0xff) << 8) |
    ((text.charCodeAt(at + 2) & 0xff) << 16) |
    (text.charCodeAt(at + 3) << 24)
  );
}
