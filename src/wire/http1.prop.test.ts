import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { BodyReader, bodyStep } from "./http1-body.ts";
import { frameRequest } from "./http1-framing.ts";
import { Http1Head } from "./http1-head.ts";
import { feedHead } from "./http1-parser.ts";
import { Http1Writer } from "./http1-writer.ts";

const limits = { headBytesMax: 2000, fieldsMax: 20 };

/** Bytes that look enough like HTTP to get past the first line. */
const almostHttp = fc
  .array(
    fc.oneof(
      fc.constantFrom("GET / HTTP/1.1\r\n", "host: a\r\n", "content-length: 3\r\n", "\r\n", "\r"),
      fc.constantFrom("transfer-encoding: chunked\r\n", "\n", "5\r\n", "0\r\n", ":", " ", ';a="b'),
      fc.string({ maxLength: 20 }),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
    ),
    { maxLength: 30 },
  )
  .map((parts) => Buffer.from(parts.join(""), "latin1"));

const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 });

/** Everything a reader says about a stream cut into pieces. */
function readAll(bytes: Buffer, sizes: readonly number[]): string {
  const head = new Http1Head();
  const body = new BodyReader(limits);
  head.reset("request");
  let said = "";
  let isBody = false;
  let from = 0;
  for (let piece = 0; from < bytes.length; piece++) {
    const to = Math.min(bytes.length, from + (sizes[piece % sizes.length] ?? 1));
    const chunk = Buffer.from(bytes.subarray(from, to));
    from = to;
    let at = 0;
    while (at < chunk.length) {
      if (!isBody) {
        at += feedHead(head, chunk, at, limits);
        assert.ok(head.bytes.length <= 8192, "memory is bounded");
        if (head.error !== undefined) return `${said}!${head.error}`;
        if (!head.isComplete) break;
        const error = frameRequest(head);
        if (error !== undefined) return `${said}!${error}`;
        said += `[${head.bodyKind} ${head.bodyLength} ${head.count}]`;
        body.start(head.bodyKind, head.bodyLength);
        isBody = true;
      }
      const step = body.next(chunk, at);
      assert.ok(body.position >= at && body.position <= chunk.length, "goes forward");
      at = body.position;
      if (step === bodyStep.error) return `${said}!body`;
      if (step === bodyStep.content) said += chunk.toString("latin1", body.dataStart, at);
      if (step === bodyStep.end) {
        isBody = false;
        head.reset("request");
      }
    }
  }
  return said;
}

test("feedHead() and BodyReader neither throw nor loop nor depend on how bytes arrive", () => {
  fc.assert(
    fc.property(almostHttp, cuts, (bytes, sizes) => {
      assert.equal(readAll(bytes, sizes), readAll(bytes, [1]));
    }),
    { numRuns: 400 },
  );
});

test("what Http1Writer writes in chunks, BodyReader reads back", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), (pieces) => {
      const writer = new Http1Writer();
      for (const piece of pieces) writer.chunk(piece, 0, piece.length);
      writer.lastChunk(undefined);
      const bytes = writer.take();
      const body = new BodyReader(limits);
      body.start("chunked", 0);
      const read: Buffer[] = [];
      let step: number = body.next(bytes, 0);
      while (step === bodyStep.content) {
        read.push(bytes.subarray(body.dataStart, body.dataEnd));
        step = body.next(bytes, body.position);
      }
      assert.equal(step, bodyStep.end);
      assert.deepEqual(Buffer.concat(read), Buffer.concat(pieces));
    }),
    { numRuns: 200 },
  );
});
