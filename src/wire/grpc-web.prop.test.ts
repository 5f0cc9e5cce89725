import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { Base64Reader, GrpcFrameTextWriter, grpcWebTrailers } from "./grpc-web.ts";
import { Http1Head } from "./http1-head.ts";
import { feedHead } from "./http1-parser.ts";

const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
const cuts = fc.array(fc.nat({ max: 400 }), { maxLength: 6 });

/** `bytes` cut at those places that it has. */
function cut(bytes: Buffer, at: readonly number[]): readonly Buffer[] {
  const places = at.filter((one) => one <= bytes.length).toSorted((a, b) => a - b);
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length));
}

function read(parts: readonly Buffer[]): { bytes: Buffer | undefined; isWhole: boolean } {
  const reader = new Base64Reader();
  const found: Buffer[] = [];
  for (const part of parts) {
    const bytes = reader.read(Buffer.concat([Buffer.from("x"), part]), 1, part.length + 1);
    if (bytes === undefined) return { bytes: undefined, isWhole: reader.isWhole };
    found.push(bytes);
  }
  return { bytes: Buffer.concat(found), isWhole: reader.isWhole };
}

function frame(content: Uint8Array): Buffer {
  const bytes = Buffer.alloc(5 + content.length);
  bytes.writeUInt32BE(content.length, 1);
  bytes.set(content, 5);
  return bytes;
}

test("Base64Reader reads texts one behind the other, however they are cut", () => {
  fc.assert(
    fc.property(pieces, cuts, (contents, at) => {
      const text = contents.map((one) => Buffer.from(one).toString("base64")).join("");
      const { bytes, isWhole } = read(cut(Buffer.from(text), at));
      assert.deepEqual(bytes, Buffer.concat(contents));
      assert.ok(isWhole);
    }),
  );
});

test("Base64Reader takes nothing that writers of base64 do not write", () => {
  const characters = fc.constantFrom(...Array.from("AQgB/+=-_ \n\0ÿ"));
  fc.assert(
    fc.property(fc.array(characters, { maxLength: 12 }), cuts, (list, at) => {
      const text = Buffer.from(list.join(""), "latin1");
      const { bytes, isWhole } = read(cut(text, at));
      const groups = text.toString("latin1").match(/.{4}/gs) ?? [];
      const written = groups.map((one) => Buffer.from(one, "base64").toString("base64"));
      const isSound = text.length % 4 === 0 && written.join("") === text.toString("latin1");
      assert.equal(bytes !== undefined && isWhole, isSound);
    }),
  );
});

test("GrpcFrameTextWriter writes each frame as a text of its own, however they are cut", () => {
  fc.assert(
    fc.property(pieces, cuts, (contents, at) => {
      const frames = contents.map(frame);
      const writer = new GrpcFrameTextWriter();
      const parts = cut(Buffer.concat(frames), at).map((one) => writer.write(one, 0, one.length));
      const text = Buffer.concat([...parts, writer.end()]).toString();
      assert.equal(text, frames.map((one) => one.toString("base64")).join(""));
    }),
  );
});

test("GrpcFrameTextWriter keeps no more than two bytes, and writes them when a frame is cut off", () => {
  const writer = new GrpcFrameTextWriter();
  const begun = Buffer.from([0, 0, 0, 1, 0, 1, 2]);
  const text = writer.write(begun, 0, begun.length);
  assert.deepEqual(Buffer.from(text.toString(), "base64"), begun.subarray(0, 6));
  assert.deepEqual(Buffer.from(writer.end().toString(), "base64"), begun.subarray(6));
});

test("grpcWebTrailers() writes what is left of trailers", () => {
  const head = new Http1Head();
  head.reset("trailers");
  const bytes = Buffer.from("grpc-status: 5\r\nx-gone: 1\r\ngrpc-message: not %C3%BC\r\n\r\n");
  feedHead(head, bytes, 0, { headBytesMax: 1000, fieldsMax: 10 });
  head.dropName("x-gone");
  const frame = grpcWebTrailers(head);
  assert.equal(frame[0], 0x80);
  assert.equal(frame.readUInt32BE(1), frame.length - 5);
  assert.equal(frame.toString("latin1", 5), "grpc-status:5\r\ngrpc-message:not %C3%BC\r\n");
});
