/** XXH64, the hash of Envoy's ring and Maglev balancers and of its hash policies. */

const mask = 0xffff_ffff_ffff_ffffn;
const prime1 = 0x9e3779b185ebca87n;
const prime2 = 0xc2b2ae3d27d4eb4fn;
const prime3 = 0x165667b19e3779f9n;
const prime4 = 0x85ebca77c2b2ae63n;
const prime5 = 0x27d4eb2f165667c5n;

/** Text is one character per byte (latin1), as headers and addresses are. */
export function xxHash64(text: string, seed = 0n): bigint {
  const length = text.length;
  let offset = 0;
  let hash: bigint;
  if (length >= 32) {
    const lanes = [seed + prime1 + prime2, seed + prime2, seed, seed - prime1].map(
      (lane) => lane & mask,
    );
    for (; offset + 32 <= length; offset += 32) {
      for (let lane = 0; lane < 4; lane++) {
        lanes[lane] = round(lanes[lane] ?? 0n, read(text, offset + lane * 8, 8));
      }
    }
    const [a = 0n, b = 0n, c = 0n, d = 0n] = lanes;
    hash = (rotate(a, 1n) + rotate(b, 7n) + rotate(c, 12n) + rotate(d, 18n)) & mask;
    for (const lane of lanes) hash = ((hash ^ round(0n, lane)) * prime1 + prime4) & mask;
  } else {
    hash = (seed + prime5) & mask;
  }
  return avalanche(tail(text, offset, (hash + BigInt(length)) & mask));
}

function tail(text: string, start: number, begin: bigint): bigint {
  let hash = begin;
  let offset = start;
  for (; offset + 8 <= text.length; offset += 8) {
    hash = (rotate(hash ^ round(0n, read(text, offset, 8)), 27n) * prime1 + prime4) & mask;
  }
  if (offset + 4 <= text.length) {
    hash ^= (read(text, offset, 4) * prime1) & mask;
    hash = (rotate(hash, 23n) * prime2 + prime3) & mask;
    offset += 4;
  }
  for (; offset < text.length; offset++) {
    hash = (rotate(hash ^ ((read(text, offset, 1) * prime5) & mask), 11n) * prime1) & mask;
  }
  return hash;
}

function avalanche(value: bigint): bigint {
  let hash = value ^ (value >> 33n);
  hash = (hash * prime2) & mask;
  hash ^= hash >> 29n;
  hash = (hash * prime3) & mask;
  return hash ^ (hash >> 32n);
}

function round(lane: bigint, input: bigint): bigint {
  return (rotate((lane + input * prime2) & mask, 31n) * prime1) & mask;
}

function rotate(value: bigint, bits: bigint): bigint {
  return ((value << bits) | (value >> (64n - bits))) & mask;
}

/** Little-endian. */
function read(text: string, offset: number, bytes: number): bigint {
  let value = 0n;
  for (let i = bytes - 1; i >= 0; i--) {
    value = (value << 8n) | BigInt(text.charCodeAt(offset + i) & 0xff);
  }
  return value;
}

/** The upper 53 bits: what a number holds exactly, and what balancers compare. */
export function hashNumber(hash: bigint): number {
  return Number(hash >> 11n);
}
