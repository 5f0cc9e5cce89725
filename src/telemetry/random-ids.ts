/**
 * Random ids as text. Their digits are laid out in one place, so that an id costs one string; random
 * bytes come from a pool that is filled in one call.
 */
import { randomFillSync } from "node:crypto";

const pool = Buffer.alloc(16 * 1024);
let poolAt = pool.length;

const digits = Buffer.alloc(16).map((_, value) => value.toString(16).charCodeAt(0));
const layout = Buffer.alloc(64);
const dash = 0x2d;

/** `x-request-id`: a UUID of version 4, as Envoy makes them. */
export function newRequestId(): string {
  const from = take(16);
  pool[from + 6] = ((pool[from + 6] ?? 0) & 0x0f) | 0x40;
  pool[from + 8] = ((pool[from + 8] ?? 0) & 0x3f) | 0x80;
  let at = layHex(from, 4, 0);
  layout[at++] = dash;
  at = layHex(from + 4, 2, at);
  layout[at++] = dash;
  at = layHex(from + 6, 2, at);
  layout[at++] = dash;
  at = layHex(from + 8, 2, at);
  layout[at++] = dash;
  at = layHex(from + 10, 6, at);
  return layout.toString("latin1", 0, at);
}

/** 32 digits, not all zero. */
export function newTraceId(): string {
  return newId(16);
}

/** 16 digits, not all zero. */
export function newSpanId(): string {
  return newId(8);
}

/** `00-<trace id>-<span id>-0<flag>` of a trace that begins here. */
export function newTraceparent(isSampled: boolean): string {
  layout.write("00-", "latin1");
  let at = layHex(takeNonZero(16), 16, 3);
  layout[at++] = dash;
  at = layHex(takeNonZero(8), 8, at);
  layout[at++] = dash;
  layout[at++] = 0x30;
  layout[at++] = isSampled ? 0x31 : 0x30;
  return layout.toString("latin1", 0, at);
}

/** A UUID with another digit at that place, as one string. */
export function withDigit(id: string, at: number, digit: string): string {
  const length = layout.write(id, "latin1");
  layout.write(digit, at, "latin1");
  return layout.toString("latin1", 0, length);
}

function newId(byteCount: number): string {
  return layout.toString("latin1", 0, layHex(takeNonZero(byteCount), byteCount, 0));
}

/** Where in the pool so many fresh bytes are. */
function take(byteCount: number): number {
  if (poolAt + byteCount > pool.length) {
    randomFillSync(pool);
    poolAt = 0;
  }
  const from = poolAt;
  poolAt += byteCount;
  return from;
}

/** An id of zeros would be no id. */
function takeNonZero(byteCount: number): number {
  for (;;) {
    const from = take(byteCount);
    for (let at = from; at < from + byteCount; at++) if (pool[at] !== 0) return from;
  }
}

/** Returns where the next digit goes. */
function layHex(from: number, byteCount: number, to: number): number {
  let at = to;
  for (let index = from; index < from + byteCount; index++) {
    const byte = pool[index] ?? 0;
    layout[at++] = digits[byte >> 4] ?? 0;
    layout[at++] = digits[byte & 0x0f] ?? 0;
  }
  return at;
}
