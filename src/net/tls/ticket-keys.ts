/**
 * Keys that session tickets are sealed with. Those of our own come from one secret of the process,
 * which all its threads have; it is replaced by its hash as time goes on, so that whoever takes it
 * from memory cannot open tickets of an earlier period. Those of configuration are given. Either is
 * put through HKDF: what another program seals with the same bytes opens nothing here.
 */
import { hash, hkdfSync, randomBytes } from "node:crypto";

/** What another thread of the process needs to seal and open the same tickets. */
export interface TicketSeed {
  readonly period: number;
  readonly secret: Uint8Array;
}

export interface TicketKey {
  /** 16 bytes that stand in the ticket, in the clear. */
  readonly name: Buffer;
  /** 32 bytes each. */
  readonly mac: Buffer;
  readonly cipher: Buffer;
}

/** How long tickets are sealed with one key; they are opened for as long again. */
const periodMs = 12 * 3_600_000;
const secretBytes = 32;

let seed: TicketSeed | undefined;
let before: TicketSeed | undefined;
let onSeed: ((seed: TicketSeed) => void) | undefined;

/** Also of the thread that is started now: it can go on from there. */
export function ticketSeed(nowMs: number): TicketSeed {
  const period = Math.floor(nowMs / periodMs);
  let current = seed ?? { period, secret: randomBytes(secretBytes) };
  const known = seed;
  while (current.period < period) {
    before = current;
    const secret = hash("sha256", Buffer.concat([current.secret, nextPeriod]), "buffer");
    current = { period: current.period + 1, secret };
  }
  seed = current;
  if (seed !== known) onSeed?.(seed);
  return seed;
}

const nextPeriod = Buffer.from("the next period");

/** Told of the secret now and of each that takes its place. */
export function followTicketSeed(nowMs: number, tell: (seed: TicketSeed) => void): void {
  onSeed = tell;
  if (seed === undefined) ticketSeed(nowMs);
  else tell(seed);
}

/** Before this thread seals anything. */
export function adoptTicketSeed(given: TicketSeed): void {
  seed = given;
  before = undefined;
}

/** The first seals; all open. `scope` keeps contexts apart that must not open each other's. */
export function ownTicketKeys(nowMs: number, scope: Buffer): readonly TicketKey[] {
  const current = ticketSeed(nowMs);
  const seeds = before === undefined ? [current] : [current, before];
  return seeds.map(({ secret }) => deriveKey(secret, scope));
}

/** Throws what is wrong with one of 80 bytes from configuration. */
export function configuredTicketKey(key: Uint8Array): TicketKey {
  const expected = 80;
  if (key.length !== expected) {
    throw new Error(`a session ticket key has ${key.length} bytes, not ${expected}`);
  }
  return deriveKey(key, Buffer.alloc(0));
}

function deriveKey(secret: Uint8Array, scope: Buffer): TicketKey {
  const info = "heddle session tickets";
  const bytes = Buffer.from(hkdfSync("sha256", secret, scope, info, 80));
  return { name: bytes.subarray(0, 16), mac: bytes.subarray(16, 48), cipher: bytes.subarray(48) };
}
