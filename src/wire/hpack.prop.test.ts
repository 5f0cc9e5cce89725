/** HPACK: what is encoded is decoded, whatever came before; what is not HPACK is refused, not believed. */
import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { ByteWriter } from "./byte-writer.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { HpackEncoder } from "./hpack-encoder.ts";
import { decodeHuffman, encodeHuffman, huffmanBytes } from "./hpack-huffman.ts";
import { huffmanLengths } from "./hpack-tables.ts";
import { Http1Head } from "./http1-head.ts";

const limits = { headBytesMax: 60 * 1024, fieldsMax: 200 };

function fieldsOf(head: Http1Head): readonly (readonly [string, string])[] {
  return Array.from({ length: head.count }, (_, at) => [head.nameAt(at), head.valueAt(at)]);
}

function decode(decoder: HpackDecoder, hex: string): Http1Head | undefined {
  const head = new Http1Head();
  head.reset("trailers");
  const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
  return decoder.decode(bytes, 0, bytes.length, head) ? head : undefined;
}

const name = fc.oneof(
  fc.constantFrom(":path", "cookie", "x-one", "content-type", "date", "authorization", "accept"),
  fc.stringMatching(/^[a-z0-9!#$%&'*+.^_`|~-]{1,40}$/),
);
const value = fc.oneof(
  fc.constantFrom("", "/", "gzip, deflate", "application/json", "a".repeat(600)),
  fc
    .array(fc.integer({ min: 0x21, max: 0xff }), { maxLength: 60 })
    .map((units) => String.fromCharCode(...units.filter((unit) => unit !== 0x7f))),
);

test("HpackDecoder reads what HpackEncoder writes, block after block, at any table size", () => {
  const blocks = fc.array(
    fc.record({
      fields: fc.array(fc.tuple(name, value), { maxLength: 30 }),
      tableBytes: fc.option(fc.constantFrom(0, 32, 100, 4096, 65_536)),
      rests: fc.constantFrom("encoder", "decoder", "both", "none"),
    }),
    { minLength: 1, maxLength: 12 },
  );
  fc.assert(
    fc.property(blocks, (sequence) => {
      const encoder = new HpackEncoder();
      const decoder = new HpackDecoder(limits, 4096);
      for (const { fields, tableBytes, rests } of sequence) {
        // Each for itself: the other's table is the same whatever memory it lies in.
        if (rests === "encoder" || rests === "both") encoder.trim();
        if (rests === "decoder" || rests === "both") decoder.trim();
        if (tableBytes !== null) encoder.setTableBytesMax(tableBytes);
        const out = new ByteWriter();
        encoder.beginBlock(out);
        for (const [one, text] of fields) encoder.field(out, one, text);
        const head = new Http1Head();
        head.reset("trailers");
        assert.ok(decoder.decode(out.memory, 0, out.length, head));
        assert.equal(head.error, undefined);
        assert.deepEqual(fieldsOf(head), fields);
      }
    }),
    { numRuns: 150 },
  );
});

test("decodeHuffman() reads what encodeHuffman() writes, in as many bytes as huffmanBytes() says", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const coded = new Uint8Array(bytes.length * 4 + 4);
      const end = encodeHuffman(bytes, { from: 0, to: bytes.length }, coded, 0);
      assert.equal(end, huffmanBytes(bytes, 0, bytes.length));
      const back = new Uint8Array(bytes.length * 4 + 8);
      const length = decodeHuffman(coded, { from: 0, to: end }, back, 0);
      assert.deepEqual(back.subarray(0, length), bytes);
    }),
  );
});

test("huffmanLengths is a complete code", () => {
  assert.equal(huffmanLengths.length, 257);
  assert.equal(
    huffmanLengths.reduce((sum, bits) => sum + 2 ** -bits, 0),
    1,
  );
});

test("HpackDecoder never throws, and stays within its limits, whatever it is given", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 120 }), { maxLength: 8 }), (blocks) => {
      const decoder = new HpackDecoder({ headBytesMax: 1000, fieldsMax: 10 }, 4096);
      for (const block of blocks) {
        const head = new Http1Head();
        head.reset("trailers");
        if (!decoder.decode(block, 0, block.length, head)) return;
        assert.ok(head.count <= 10);
        assert.ok(head.length <= 1000 + 10 * 4);
      }
    }),
    { numRuns: 500 },
  );
});

test("HpackDecoder reads the examples of RFC 7541 appendix C.4 and C.6", () => {
  const requests = new HpackDecoder(limits, 4096);
  const first = decode(requests, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff");
  assert.ok(first !== undefined);
  assert.deepEqual(fieldsOf(first), [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ]);
  const second = decode(requests, "8286 84be 5886 a8eb 1064 9cbf");
  assert.ok(second !== undefined);
  assert.deepEqual(fieldsOf(second).slice(3), [
    [":authority", "www.example.com"],
    ["cache-control", "no-cache"],
  ]);
});

const refused: readonly (readonly [why: string, block: string])[] = [
  ["index 0", "80"],
  ["an index beyond both tables", "ff 80 01"],
  ["an integer without end", "ff ff ff ff ff ff ff ff 01"],
  ["an integer that is cut off", "ff 80"],
  ["a string longer than its block", "00 05 61 62"],
  ["a name's index beyond both tables", "7f 80 01 00"],
  ["Huffman padding of zeros", "00 81 00 00"],
  ["Huffman padding of eight ones", "00 82 1f ff 00"],
  ["the end of a string in one", "00 84 ff ff ff ff 00"],
  ["a larger table than allowed", "3f e2 1f"],
  ["a change of the table behind a field", "82 20"],
  ["three changes of the table", "20 20 20"],
];
for (const [why, block] of refused) {
  test(`HpackDecoder refuses ${why}`, () => {
    assert.equal(decode(new HpackDecoder(limits, 4096), block), undefined);
  });
}

for (const byte of [0, 0x20, 0x41, 0x7f, 0x80]) {
  test(`HpackDecoder finds byte ${byte} in a name, and in one that the table repeats`, () => {
    const decoder = new HpackDecoder(limits, 4096);
    const named = `40 01 ${byte.toString(16).padStart(2, "0")} 01 62`;
    assert.equal(decode(decoder, named)?.error, "invalid-character");
    assert.equal(decode(decoder, "be")?.error, "invalid-character");
    assert.equal(decode(decoder, "7e 01 63")?.error, "invalid-character");
  });
}

test("HpackDecoder wants to hear of a table that became smaller", () => {
  const decoder = new HpackDecoder(limits, 1024);
  assert.ok(decode(decoder, "82") !== undefined);
  decoder.onTableBytesMax(1024);
  assert.equal(decode(decoder, "82"), undefined);
  const told = new HpackDecoder(limits, 1024);
  told.onTableBytesMax(1024);
  assert.ok(decode(told, "3f e1 07 82") !== undefined);
});

test("HpackDecoder goes on with its table behind a block beyond a limit", () => {
  const decoder = new HpackDecoder({ headBytesMax: 60 * 1024, fieldsMax: 2 }, 4096);
  const bomb = decode(decoder, `40 01 61 01 62 ${"be ".repeat(1000)}`);
  assert.equal(bomb?.error, "too-many-fields");
  assert.equal(bomb.count, 2);
  assert.ok(bomb.bytes.length < 10_000);
  const next = decode(decoder, "be");
  assert.deepEqual(next === undefined ? [] : fieldsOf(next), [["a", "b"]]);
});

test("HpackDecoder charges 32 bytes for each field", () => {
  const decoder = new HpackDecoder({ headBytesMax: 100, fieldsMax: 100 }, 4096);
  assert.equal(decode(decoder, "82 82")?.error, undefined);
  assert.equal(decode(decoder, "82 82 82")?.error, "head-too-large");
});

test("HpackEncoder never indexes secrets, and writes what repeats as one byte", () => {
  const encoder = new HpackEncoder();
  const write = (...field: [string, string]): Buffer => {
    const out = new ByteWriter();
    encoder.field(out, ...field);
    return Buffer.from(out.memory.subarray(0, out.length));
  };
  for (const secret of ["authorization", "cookie", "set-cookie"]) {
    assert.equal((write(secret, "s")[0] ?? 0) >> 4, 1);
    assert.equal((write(secret, "s")[0] ?? 0) >> 4, 1);
  }
  assert.ok(write("x-one", "1").length > 1);
  assert.equal(write("x-one", "1").length, 1);
});
