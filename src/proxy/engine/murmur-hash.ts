/**
 * MurmurHash2 of 64 bits with the seed of GNU's standard library: Envoy's other hash for rings. Only
 * rings are built with it, so it may be slow; requests are hashed with xxHash whatever the ring says.
 */
import type { Hash64 } from "./xx-hash.ts";

const multiplier = 0xc6a4a7935bd1e995n;
const seed = 0xc70f6907n;
const mask = 0xffff_ffff_ffff_ffffn;

/** Text is one character per byte; the result goes into `into`. */
export function murmurHash2(text: string, into: Hash64): void {
  const { length } = text;
  let hash = (seed ^ (BigInt(length) * multiplier)) & mask;
  const whole = length - (length % 8);
  for (let at = 0; at < whole; at += 8) {
    const mixed = shiftMix((word(text, at, at + 8) * multiplier) & mask);
    hash = ((hash ^ ((mixed * multiplier) & mask)) * multiplier) & mask;
  }
  if (whole < length) hash = ((hash ^ word(text, whole, length)) * multiplier) & mask;
  hash = shiftMix((shiftMix(hash) * multiplier) & mask);
  into.set(Number(hash >> 32n), Number(hash & 0xffff_ffffn));
}

function shiftMix(value: bigint): bigint {
  return value ^ (value >> 47n);
}

/** Little-endian. */
function word(text: string, from: number, end: number): bigint {
  let bits = 0n;
  for (let at = end - 1; at >= from; at--) bits = (bits << 8n) | BigInt(text.charCodeAt(at) & 0xff);
  return bits;
}
