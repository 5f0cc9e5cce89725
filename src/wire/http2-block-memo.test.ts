/** Header blocks that come again: the same head as by reading, and never one that the table makes another. */
import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { ByteWriter } from "./byte-writer.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { HpackEncoder } from "./hpack-encoder.ts";
import { Http1Head } from "./http1-head.ts";
import { BlockMemo } from "./http2-block-memo.ts";
import { frameHttp2Request } from "./http2-framing.ts";
import { HeaderBlock } from "./http2-header-block.ts";

const limits = { headBytesMax: 60 * 1024, fieldsMax: 200 };

/** As a server's side reads blocks, with a memo and without. */
class Reader {
  readonly head: Http1Head = new Http1Head();
  readonly decoder: HpackDecoder = new HpackDecoder(limits, 4096);
  readonly memo: BlockMemo = new BlockMemo(this.decoder);
  readonly #remembers: boolean;

  constructor(remembers: boolean) {
    this.#remembers = remembers;
  }

  /** What the head says afterwards; undefined where the connection would end. */
  read(bytes: Buffer, isEnd: boolean): object | undefined {
    const block = new HeaderBlock();
    block.bytes = bytes;
    block.to = bytes.length;
    const { head } = this;
    const kind = isEnd ? 1 : 0;
    if (this.#remembers && this.memo.recall(block, kind, head)) return said(head, undefined);
    const { changes } = this.decoder;
    head.reset("request");
    if (!this.decoder.decode(bytes, 0, bytes.length, head)) return undefined;
    const error = frameHttp2Request(head, isEnd);
    if (error === undefined && this.#remembers) this.memo.note(block, kind, changes, head);
    return said(head, error);
  }
}

function said(head: Http1Head, error: string | undefined): object {
  if (error !== undefined) return { error };
  const { slots, hashes, ids, dropped, length, count, lineStart, targetEnd } = head;
  const { bodyKind, bodyLength, expectsContinue, acceptsTrailers, hasUpgrade, isComplete } = head;
  const { kind, isHttp2, methodEnd, minorVersion, lacksLength, isStartLineRead } = head;
  return {
    facts: [kind, isHttp2, methodEnd, minorVersion, lacksLength, isStartLineRead],
    body: [bodyKind, bodyLength, expectsContinue, acceptsTrailers, hasUpgrade, isComplete],
    text: head.text(0, length),
    line: head.text(lineStart, targetEnd),
    slots: [...slots.subarray(0, count * 4)],
    hashes: [...hashes.subarray(0, count)],
    ids: [...ids.subarray(0, count)],
    dropped: [...dropped.subarray(0, count)],
  };
}

function blockOf(encoder: HpackEncoder, fields: readonly (readonly [string, string])[]): Buffer {
  const out = new ByteWriter();
  encoder.beginBlock(out);
  for (const [name, value] of fields) encoder.field(out, name, value);
  return Buffer.from(out.memory.subarray(0, out.length));
}

const get = [
  [":method", "GET"],
  [":scheme", "http"],
  [":authority", "shop.test"],
  [":path", "/cart"],
  ["cookie", "a=1"],
  ["cookie", "b=2"],
] as const;

test("BlockMemo takes a block that comes a third time as read", () => {
  const encoder = new HpackEncoder();
  const reader = new Reader(true);
  const first = reader.read(blockOf(encoder, get), true);
  for (let turn = 0; turn < 5; turn++) {
    assert.deepEqual(reader.read(blockOf(encoder, get), true), first);
  }
  // The first one filled the table, two more were looked at.
  assert.equal(reader.memo.hits, 3);
});

test("BlockMemo reads the same bytes again when the table has changed, or the kind of message", () => {
  const encoder = new HpackEncoder();
  const reader = new Reader(true);
  for (let turn = 0; turn < 4; turn++) reader.read(blockOf(encoder, get), true);
  const bytes = blockOf(encoder, get);
  assert.equal(reader.memo.hits, 1);
  reader.read(bytes, false);
  assert.equal(reader.memo.hits, 1);
  reader.read(blockOf(encoder, [...get, ["x-new", "1"]]), true);
  // The same bytes name other entries now, or none.
  assert.notEqual(reader.read(bytes, true), undefined);
  assert.equal(reader.memo.hits, 1);
});

test("BlockMemo lets no block pass where the decoder waits for word of a smaller table", () => {
  const encoder = new HpackEncoder();
  const reader = new Reader(true);
  for (let turn = 0; turn < 4; turn++) reader.read(blockOf(encoder, get), true);
  reader.decoder.onTableBytesMax(100);
  assert.equal(reader.read(blockOf(encoder, get), true), undefined);
});

test("BlockMemo makes no difference to what is read, whatever comes and however often", () => {
  const requests = fc.array(
    fc.record({
      path: fc.constantFrom("/", "/a", "/b?c", ""),
      method: fc.constantFrom("GET", "POST", "G T"),
      more: fc.array(
        fc.tuple(
          fc.constantFrom("x-one", "x-two", "content-length", "te", "host", "expect"),
          fc.constantFrom("0", "1", "trailers", "100-continue", "shop.test"),
        ),
        { maxLength: 3 },
      ),
      isEnd: fc.boolean(),
      times: fc.integer({ min: 1, max: 5 }),
      tableBytes: fc.option(fc.constantFrom(0, 100, 4096), { freq: 8 }),
      rests: fc.boolean(),
    }),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(requests, (sequence) => {
      const encoder = new HpackEncoder();
      const [reader, plain] = [new Reader(true), new Reader(false)];
      for (const { path, method, more, isEnd, times, tableBytes, rests } of sequence) {
        if (tableBytes !== null) encoder.setTableBytesMax(tableBytes);
        if (rests) reader.memo.trim();
        for (let turn = 0; turn < times; turn++) {
          const block = blockOf(encoder, [
            [":method", method],
            [":scheme", "http"],
            [":authority", "shop.test"],
            [":path", path],
            ...more,
          ]);
          assert.deepEqual(reader.read(block, isEnd), plain.read(block, isEnd));
        }
      }
    }),
    { numRuns: 200 },
  );
});
