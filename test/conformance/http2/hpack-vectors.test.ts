/**
 * HPACK as two encoders write it that are not ours (`tools/gen-hpack-vectors.ts`): each block is read, table
 * and all, and frames that carry it are read wherever they are cut.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { HpackDecoder } from "../../../src/wire/hpack-decoder.ts";
import { Http1Head } from "../../../src/wire/http1-head.ts";
import { defaultFloodLimits, FloodGuard } from "../../../src/wire/http2-floods.ts";
import { frameStep, FrameReader } from "../../../src/wire/http2-frame-reader.ts";
import { HeaderBlock } from "../../../src/wire/http2-header-block.ts";
import { frameBytes } from "./raw-client.ts";

interface Story {
  readonly name: string;
  readonly tableBytes: number;
  /** Fields of each block. */
  readonly blocks: readonly (readonly (readonly [string, string])[])[];
  readonly python: readonly string[];
  readonly nghttp2: readonly string[];
}

const lines = readFileSync("test/conformance/http2/hpack-vectors.jsonl", "utf8").trimEnd();
const stories: readonly Story[] = lines.split("\n").map((line) => JSON.parse(line));
const limits = { headBytesMax: 64 * 1024, fieldsMax: 200 };
const encoders = ["python", "nghttp2"] as const;

function decoderFor(tableBytes: number): HpackDecoder {
  const decoder = new HpackDecoder(limits, tableBytes);
  decoder.onTableBytesMax(tableBytes);
  return decoder;
}

function read(decoder: HpackDecoder, block: Uint8Array): Http1Head {
  const head = new Http1Head();
  head.reset("trailers");
  assert.ok(decoder.decode(block, 0, block.length, head), "a block is refused");
  assert.equal(head.error, undefined);
  return head;
}

function fieldsOf(head: Http1Head): readonly (readonly [string, string])[] {
  return Array.from({ length: head.count }, (_, at) => [head.nameAt(at), head.valueAt(at)]);
}

for (const encoder of encoders) {
  test(`HpackDecoder reads what ${encoder} writes`, () => {
    for (const story of stories) {
      const decoder = decoderFor(story.tableBytes);
      for (const [at, text] of story[encoder].entries()) {
        const head = read(decoder, Buffer.from(text, "base64"));
        assert.deepEqual(fieldsOf(head), story.blocks[at], `${story.name}, block ${at}`);
      }
    }
  });
}

/** The block that the frames in `pieces`, read one after the other, carry. */
function gather(pieces: readonly Buffer[]): Buffer {
  const reader = new FrameReader();
  const guard = new FloodGuard(defaultFloodLimits);
  const gathered = new HeaderBlock();
  for (const piece of pieces) {
    for (let at = 0; ;) {
      const step = reader.next(piece, at);
      at = reader.position;
      if (step === frameStep.more) break;
      assert.equal(step, frameStep.frame);
      const found = reader.type === 1 ? gathered.begin(reader, guard) : gathered.add(reader, guard);
      if (found === "whole") {
        return Buffer.from(gathered.bytes.subarray(gathered.from, gathered.to));
      }
      assert.equal(found, "part");
    }
  }
  assert.fail("the block is not whole");
}

test("HeaderBlock is the same wherever frames end and bytes are cut", () => {
  const short = stories.filter(({ name }) => /browser|gRPC|every visible/.test(name));
  for (const { name, nghttp2 } of short) {
    const block = Buffer.from(nghttp2[0] ?? "", "base64");
    for (let split = 0; split <= block.length; split++) {
      const frames = Buffer.concat([
        frameBytes(1, 1, 1, block.subarray(0, split)),
        frameBytes(9, 4, 1, block.subarray(split)),
      ]);
      const where = `${name}, frames end after ${split} bytes`;
      assert.ok(gather([frames]).equals(block), where);
      const bytes = Array.from(frames, (_, at) => frames.subarray(at, at + 1));
      assert.ok(gather(bytes).equals(block), `${where}, one byte at a time`);
    }
    const frame = frameBytes(1, 5, 1, block);
    for (let cut = 0; cut <= frame.length; cut++) {
      const pieces = [frame.subarray(0, cut), frame.subarray(cut)];
      assert.ok(gather(pieces).equals(block), `${name}, bytes are cut after ${cut}`);
    }
  }
});

test("HpackDecoder refuses blocks that end too early, or are another's", () => {
  for (const { tableBytes, nghttp2, blocks } of stories) {
    const block = Buffer.from(nghttp2[0] ?? "", "base64");
    for (let end = 0; end < Math.min(block.length, 300); end++) {
      const head = new Http1Head();
      head.reset("trailers");
      if (!decoderFor(tableBytes).decode(block, 0, end, head)) continue;
      // Between two fields a block may end; what it has is the beginning of what was written.
      assert.deepEqual(fieldsOf(head), blocks[0]?.slice(0, head.count));
    }
  }
});
