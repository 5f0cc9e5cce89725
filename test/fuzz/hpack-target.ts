/**
 * What the HPACK codec promises. An input is blocks of one connection, each behind a byte for its length;
 * 255 is all that is left.
 */
import assert from "node:assert/strict";

import { ByteWriter } from "../../src/wire/byte-writer.ts";
import { HpackDecoder } from "../../src/wire/hpack-decoder.ts";
import { HpackEncoder } from "../../src/wire/hpack-encoder.ts";
import { Http1Head } from "../../src/wire/http1-head.ts";
import type { FuzzTarget } from "./fuzzer.ts";
import { type Field, ReferenceDecoder } from "./hpack-reference.ts";

const limits = { headBytesMax: 3000, fieldsMax: 70 };
const bombBytes = 1024 * 1024;
const out = new ByteWriter();
const head = new Http1Head();
const again = new Http1Head();

function check(input: Buffer): void {
  const before = Buffer.from(input);
  const decoder = new HpackDecoder(limits, 4096);
  const reference = new ReferenceDecoder(4096);
  const encoder = new HpackEncoder();
  const back = new HpackDecoder({ headBytesMax: 100_000, fieldsMax: 100 }, 4096);
  // The first byte is a table that the reader of what is written wants: then others at each block.
  let wish = input[0] ?? 0;
  for (let at = 1; at < input.length;) {
    const length = input[at] ?? 0;
    const end = length === 255 ? input.length : at + 1 + length;
    const block = Buffer.from(input.subarray(at + 1, end));
    at = end;
    head.reset("trailers");
    const isBlock = decoder.decode(block, 0, block.length, head);
    const expected = reference.decode(block);
    if (decoder.isBomb) {
      const isBomb = expected === undefined || costOf(expected) > bombBytes;
      assert.ok(isBomb, "takes for a bomb what is none");
      break;
    }
    assert.equal(isBlock, expected !== undefined, "differs on what is a block");
    if (expected === undefined) break;
    compare(expected);
    if (head.error !== undefined) continue;
    if (wish > 128) encoder.setTableBytesMax(wishes[wish % wishes.length] ?? 0);
    // One after the other: the smallest counts, too.
    if (wish > 250) encoder.setTableBytesMax(wish & 1 ? 0 : 2000);
    wish = (wish * 7 + 1) & 0xff;
    checkWritten(encoder, back, wish % 4 === 1);
    if (wish % 4 === 3) for (const one of [encoder, decoder, back]) one.trim();
  }
  assert.ok(before.equals(input), "changes what it reads");
}

const wishes = [0, 40, 100, 4096, 65_536, 4096];

function costOf(fields: readonly Field[]): number {
  return fields.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
}

function fieldsOf(read: Http1Head): readonly Field[] {
  return Array.from({ length: read.count }, (_, at) => [read.nameAt(at), read.valueAt(at)]);
}

const sound = /^[\t\x20-\x7e\x80-\xff]*$/;
const token = /^:?[a-z0-9!#$%&'*+.^_`|~-]+$/;

/** The error that the first field that is too many, or not sound, deserves. */
function compare(expected: readonly Field[]): void {
  let cost = 0;
  for (const [at, [name, value]] of expected.entries()) {
    const isSound = token.test(name) && sound.test(value) && !/^[ \t]|[ \t]$/.test(value);
    cost += name.length + value.length + 32;
    const isLarge = cost > limits.headBytesMax;
    if (isSound && !isLarge && at < limits.fieldsMax) continue;
    const error = isSound ? (isLarge ? "head-too-large" : "too-many-fields") : "invalid-character";
    assert.equal(head.error, error, "is wrong about what is wrong");
    assert.deepEqual(fieldsOf(head), expected.slice(0, at), "keeps more than it may");
    return;
  }
  assert.equal(head.error, undefined, "refuses what is sound");
  assert.deepEqual(fieldsOf(head), expected, "differs from the reference");
  const lines = expected.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  assert.equal(head.text(0, head.length), lines, "holds other lines than its fields");
}

/** What no value may hold. */
const nasty = ["\0", "\n", "\r", "\x7f", "\x1f", "\u0100", "\u20ac", "\ud800"];

/** What was understood is written, and understood again; `isText`: from strings instead of a head. */
function checkWritten(encoder: HpackEncoder, back: HpackDecoder, isText: boolean): void {
  out.discard();
  encoder.beginBlock(out);
  encoder.status(out, 100 + head.length);
  for (let field = 0; field < head.count; field++) {
    if (!isText) encoder.fieldOf(out, head, field);
    else assert.ok(encoder.field(out, head.nameAt(field), head.valueAt(field)), "does not write");
  }
  const { length } = out;
  const isWritten = encoder.field(out, "x", `1${nasty[head.length % nasty.length]}`);
  assert.ok(!isWritten && out.length === length, "writes what no field may hold");
  again.reset("trailers");
  assert.ok(back.decode(out.memory, 0, out.length, again), "writes what it cannot read");
  const status = [":status", String(100 + head.length)];
  assert.deepEqual(fieldsOf(again), [status, ...fieldsOf(head)], "writes something else");
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

export const hpackTarget: FuzzTarget = {
  tokens: [
    "82 86 84",
    "be",
    "bf",
    "c0",
    "40 01 61 01 62",
    "00 01 61 01 62",
    "10 01 61 01 62",
    "7f 00",
    "5f 01 01 63",
    "20",
    "3f 01",
    "3f e1 1f",
    "3f e2 1f",
    "ff 00",
    "ff ff ff ff 0f",
    "83 1f ff ff",
    "8c f1 e3 c2 e5 f2 3a 6b a0 ab 90 f4 ff",
    "81 ff",
    "40 06 63 6f 6f 6b 69 65 01 31",
    "0f 0d 01 30",
    "01 00",
  ].map(hex),
  seeds: [
    "11 82 86 84 41 8c f1 e3 c2 e5 f2 3a 6b a0 ab 90 f4 ff 0c 82 86 84 be 58 86 a8 eb 10 64 9c bf",
    "06 40 01 61 02 62 63 03 be be be",
    "04 20 3f e1 1f 05 40 01 61 01 62 01 be",
    "05 00 01 41 01 62 05 00 00 02 20 20",
    // A number of more bytes than it takes, and one of a third byte that is far too large.
    "06 3f 81 80 80 00 82 05 3f 80 80 01 82",
    "05 3f 80 80 01 82",
    "0b 00 09 78 2d 72 65 71 75 65 73 74 2d 01 31 02 be bf",
    "07 10 04 6e 61 6d 65 00 02 5f 00",
    // The table's memory is full more than once.
    `d0 40 7f 4d ${"61".repeat(204)} 00 ${"de 7e 01 63".padEnd(11)} ${"7e 01 63 ".repeat(73)} `.repeat(
      3,
    ),
    // A field that is longer than the memory that fields are laid out in.
    `ff 00 01 61 7f 94 13 ${"62".repeat(2579)}`,
    // One that the table names again and again: no honest mistake.
    `fd 40 01 61 7f 79 ${"62".repeat(248)} ff 40 01 61 7f a9 16 ${"62".repeat(2984)} ${"be".repeat(400)}`,
    `fe 40 01 61 7f 79 ${"62".repeat(248)} fe 40 01 61 7f 79 ${"64".repeat(248)} 01 be`,
  ].flatMap((text) => [hex(`00 ${text}`), hex(`ff ${text}`)]),
  bytesMax: 4000,
  check,
};
