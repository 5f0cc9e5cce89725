/**
 * The fixed parts of HPACK (RFC 7541): the static table, each entry as the header line it becomes
 * and with what the head's reader wants to know of its name, and the Huffman code. The code is
 * canonical, so that the lengths of its words are all there is to write down.
 */
import { hashName, knownId } from "./http1-tables.ts";

/** Appendix A; the first entry has index 1. */
const staticText = `:authority|
:method|GET
:method|POST
:path|/
:path|/index.html
:scheme|http
:scheme|https
:status|200
:status|204
:status|206
:status|304
:status|400
:status|404
:status|500
accept-charset|
accept-encoding|gzip, deflate
accept-language|
accept-ranges|
accept|
access-control-allow-origin|
age|
allow|
authorization|
cache-control|
content-disposition|
content-encoding|
content-language|
content-length|
content-location|
content-range|
content-type|
cookie|
date|
etag|
expect|
expires|
from|
host|
if-match|
if-modified-since|
if-none-match|
if-range|
if-unmodified-since|
last-modified|
link|
location|
max-forwards|
proxy-authenticate|
proxy-authorization|
range|
referer|
refresh|
retry-after|
server|
set-cookie|
strict-transport-security|
transfer-encoding|
user-agent|
vary|
via|
www-authenticate|`;

export interface StaticEntry {
  /** The header line: name, `: `, value, CRLF. */
  readonly line: Uint8Array;
  readonly nameLength: number;
  readonly valueLength: number;
  /** Of its name, as `hashName()` and `knownId()` have it. */
  readonly hash: number;
  readonly id: number;
}

/** Places 1 to 61; what stands at 0 belongs to nobody. */
export const staticTable: readonly StaticEntry[] = `|\n${staticText}`.split("\n").map(toEntry);
export const staticCount: number = staticTable.length - 1;

function toEntry(text: string): StaticEntry {
  const [name = "", value = ""] = text.split("|");
  const line = Uint8Array.from(`${name}: ${value}\r\n`, (character) => character.charCodeAt(0));
  const hash = hashName(name);
  return {
    line,
    nameLength: name.length,
    valueLength: value.length,
    hash,
    id: knownId(hash, line, 0, name.length),
  };
}

/** The entry of each three-digit status; 0 for none. */
export const staticStatuses: Uint8Array = new Uint8Array(1000);
for (const [index, { line }] of staticTable.entries()) {
  const status = /^:status: (\d+)/.exec(String.fromCharCode(...line))?.[1];
  if (status !== undefined) staticStatuses[Number(status)] = index;
}

/** Bits of each byte's word, one digit of base 36 for each; the last is the end of the string. */
const lengthText =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad6777777777777777777777787" +
  "8djde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllml" +
  "nmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu";

/** The end of a string; it never stands in one. */
const endSymbol = 256;

export const huffmanLengths: Uint8Array = Uint8Array.from(lengthText, (digit) =>
  Number.parseInt(digit, 36),
);
/** Words, right-aligned in 32 bits. */
export const huffmanWords: Uint32Array = assignWords();

/** Shorter words first, and words of one length in the order of their symbols. */
function assignWords(): Uint32Array {
  const words = new Uint32Array(huffmanLengths.length);
  let word = 0;
  for (let length = 1; length <= 30; length++) {
    word *= 2;
    for (let symbol = 0; symbol <= endSymbol; symbol++) {
      if (huffmanLengths[symbol] === length) words[symbol] = word++;
    }
  }
  return words;
}

/**
 * The decoder's automaton, four bits at a step: from `state << 4 | bits`, bits 0 to 7 are the byte
 * that was completed, bits 8 to 15 the next state; two flags above them.
 */
export const huffmanSteps: Uint32Array = new Uint32Array(256 * 16);
/** A byte was completed. */
export const huffmanEmits: number = 1 << 16;
/** No string goes on like this: the word for the end stands in it. */
export const huffmanFails: number = 1 << 17;
/** 1 where a string may end: at a word's end, or with up to seven ones begun. */
export const huffmanAccepts: Uint8Array = new Uint8Array(256);

/** A tree of all words; places are inner nodes, the root is 0. */
const children: number[][] = [[]];
buildTree();
buildSteps();

/** A child is an inner node's place, or `-1 - symbol`. */
function buildTree(): void {
  for (let symbol = 0; symbol <= endSymbol; symbol++) {
    const length = huffmanLengths[symbol] ?? 0;
    const word = huffmanWords[symbol] ?? 0;
    let node = 0;
    for (let bit = length - 1; bit >= 0; bit--) {
      const branches = children[node] ?? [];
      const side = (word >>> bit) & 1;
      if (bit === 0) branches[side] = -1 - symbol;
      else {
        if (branches[side] === undefined) branches[side] = children.push([]) - 1;
        node = branches[side];
      }
    }
  }
}

function buildSteps(): void {
  for (let state = 0; state < children.length; state++) {
    for (let bits = 0; bits < 16; bits++) huffmanSteps[(state << 4) | bits] = stepFrom(state, bits);
  }
  let node = 0;
  for (let ones = 0; ones <= 7; ones++) {
    huffmanAccepts[node] = 1;
    node = children[node]?.[1] ?? 0;
  }
}

/** The shortest word has five bits: one step completes one byte at most. */
function stepFrom(state: number, bits: number): number {
  let node = state;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const next = children[node]?.[(bits >>> bit) & 1] ?? -1 - endSymbol;
    if (next >= 0) {
      node = next;
      continue;
    }
    const symbol = -1 - next;
    if (symbol === endSymbol) return huffmanFails;
    emitted = huffmanEmits | symbol;
    node = 0;
  }
  return emitted | (node << 8);
}
