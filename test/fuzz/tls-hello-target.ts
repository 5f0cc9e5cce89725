/** What the reader of ClientHellos promises, and inputs to begin with. */
import assert from "node:assert/strict";

import { inspectTlsHello, type TlsHello, type TlsInspection } from "../../src/wire/tls-hello.ts";
import type { FuzzTarget } from "./fuzzer.ts";
import type { Random } from "./random.ts";
import { referenceHello } from "./tls-hello-reference.ts";

function vector(width: 1 | 2 | 3, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length = Buffer.alloc(width);
  length.writeUIntBE(body.length, 0, width);
  return Buffer.concat([length, body]);
}

function extension(type: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([type >> 8, type & 255]), vector(2, body)]);
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

/** A hello that says what `hello` does; the rest of it is of no meaning. */
function encodeHello({ sni, alpn, versionMax }: TlsHello, recordBytes = 16_384): Buffer {
  const extensions: Buffer[] = [];
  if (sni !== undefined) {
    extensions.push(extension(0, vector(2, Buffer.from([0]), vector(2, latin1(sni)))));
  }
  if (alpn.length > 0) {
    const names = alpn.map((name) => vector(1, latin1(name)));
    extensions.push(extension(16, vector(2, ...names)));
  }
  const body = Buffer.concat([
    Buffer.from([versionMax >> 8, versionMax & 255]),
    Buffer.alloc(32, 7),
    vector(1),
    vector(2, Buffer.from([0x13, 1])),
    vector(1, Buffer.from([0])),
    vector(2, ...extensions),
  ]);
  const message = Buffer.concat([Buffer.from([1]), vector(3, body)]);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += recordBytes) {
    const part = message.subarray(at, at + recordBytes);
    records.push(Buffer.from([22, 3, 1]), vector(2, part));
  }
  return Buffer.concat(records);
}

function seeds(): readonly Buffer[] {
  const plain = { sni: "catalog.default.svc", alpn: ["istio", "http/1.1"], versionMax: 0x0303 };
  const whole = encodeHello(plain);
  const name = Buffer.concat([Buffer.from([0]), vector(2, latin1("a"))]);
  const twoNames = extension(0, vector(2, name, name));
  const versions = extension(43, vector(1, Buffer.from([0x1a, 0x1a, 3, 4, 3, 3])));
  return [
    whole,
    encodeHello(plain, 9),
    encodeHello({ sni: undefined, alpn: [], versionMax: 0x0301 }),
    encodeHello({ sni: "A.b.", alpn: ["h2"], versionMax: 0x0303 }),
    Buffer.concat([whole, Buffer.from([20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 2, 9, 9])]),
    // An extension more: both lengths outside it grow by as much.
    grown(whole, versions),
    grown(whole, extension(0, vector(2, Buffer.from([0]), vector(2, latin1("twice"))))),
    grown(encodeHello({ sni: undefined, alpn: ["h2"], versionMax: 0x0303 }), twoNames),
    latin1("GET / HTTP/1.1\r\n"),
    Buffer.from([0x80, 0x2e, 1, 3, 1]),
  ];
}

/** A hello of one record with another extension at its end. */
function grown(whole: Buffer, more: Buffer): Buffer {
  const bytes = Buffer.concat([whole, more]);
  bytes.writeUInt16BE(bytes.length - 5, 3);
  bytes.writeUIntBE(bytes.length - 9, 6, 3);
  const extensionsAt = 9 + 2 + 32 + 1 + 4 + 2;
  bytes.writeUInt16BE(bytes.length - extensionsAt - 2, extensionsAt);
  return bytes;
}

function check(input: Buffer, random: Random): void {
  const before = Buffer.from(input);
  const verdict = inspectTlsHello(input);
  assert.deepEqual(verdict, referenceHello(input), "differs from the reference");
  assert.deepEqual(firstVerdict(input, random), verdict, "depends on how the bytes arrive");
  if (verdict.kind === "hello") {
    const again = inspectTlsHello(encodeHello(verdict.hello, 1 + random.below(200)));
    assert.deepEqual(again, verdict, "what it understood is understood otherwise");
  }
  assert.ok(before.equals(input), "changes what it reads");
}

/** As a listener asks: after each piece, until there is an answer. */
function firstVerdict(input: Buffer, random: Random): TlsInspection {
  let verdict = inspectTlsHello(input.subarray(0, 0));
  for (let end = 0; end < input.length && verdict.kind === "incomplete";) {
    end = Math.min(input.length, end + 1 + random.below(Math.ceil(input.length / 4)));
    // The memory behind a piece holds something else.
    verdict = inspectTlsHello(Buffer.concat([input.subarray(0, end), tail]).subarray(0, end));
  }
  return verdict;
}

const tail = Buffer.from([22, 3, 1, 0, 5, 1, 0, 0, 1, 3]);

export const tlsHelloTarget: FuzzTarget = {
  tokens: [
    Buffer.from([22, 3, 1]),
    Buffer.from([1, 0, 0]),
    Buffer.from([0, 0, 0, 4, 0, 2, 0, 0]),
    Buffer.from([0, 16, 0, 5, 0, 3, 2, 104, 50]),
    Buffer.from([0, 43, 0, 3, 2, 3, 4]),
    Buffer.from([0, 0]),
    Buffer.from([64, 0]),
    Buffer.from([0, 1]),
    Buffer.alloc(32, 1),
    latin1("a.b"),
  ],
  seeds: seeds(),
  bytesMax: 20_000,
  check,
};
