import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "node:tls";
import { Duplex } from "node:stream";

import fc from "fast-check";

import { inspectHttp, isHttpAnswer } from "./http-inspect.ts";
import {
  decodeProxyHeader,
  encodeLocalHeader,
  encodeProxyHeader,
  encodeProxyLine,
  tlvsOf,
} from "./proxy-protocol.ts";
import { inspectTlsHello, type TlsInspection } from "./tls-hello.ts";

/** A ClientHello as Node's OpenSSL writes it. */
function helloOf(servername: string, protocols: string[]): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        done();
        resolve(chunk);
      },
    });
    connect({ socket, servername, ALPNProtocols: protocols }).on("error", () => {});
  });
}

/** The same handshake bytes in records of at most `size`. */
function fragment(record: Buffer, size: number): Buffer {
  const body = record.subarray(5);
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    parts.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(parts);
}

function kindsOfPrefixes(bytes: Buffer): Set<TlsInspection["kind"]> {
  const kinds = new Set<TlsInspection["kind"]>();
  for (let end = 0; end < bytes.length; end++) {
    kinds.add(inspectTlsHello(bytes.subarray(0, end)).kind);
  }
  return kinds;
}

test("inspectTlsHello() reads name and protocols, whole, cut at every byte, and fragmented", async () => {
  const hello = await helloOf("Catalog.default.svc", ["istio", "http/1.1"]);
  const expected = {
    kind: "hello",
    hello: { sni: "catalog.default.svc", alpn: ["istio", "http/1.1"], versionMax: 0x0304 },
  };
  assert.deepEqual(inspectTlsHello(hello), expected);
  assert.deepEqual([...kindsOfPrefixes(hello)], ["incomplete"]);
  for (const size of [1, 7, 100]) {
    const pieces = fragment(hello, size);
    assert.deepEqual(inspectTlsHello(pieces), expected);
    if (size > 1) assert.deepEqual([...kindsOfPrefixes(pieces)], ["incomplete"]);
  }
});

test("inspectTlsHello() calls everything else raw, and never asks for more than its limit", () => {
  for (const text of ["GET / HTTP/1.1\r\n", "\x80\x2e\x01\x03\x01", "\x16\x02\x00", "\x00"]) {
    assert.equal(inspectTlsHello(Buffer.from(text, "latin1")).kind, "raw");
  }
  const endless = Buffer.alloc(20_000);
  for (let at = 0; at + 6 <= endless.length; at += 6) endless.set([22, 3, 1, 0, 1, 1], at);
  assert.equal(inspectTlsHello(endless).kind, "raw");
});

test("inspectTlsHello() survives any change of any byte", async () => {
  const hello = await helloOf("catalog", ["istio"]);
  fc.assert(
    fc.property(fc.nat(hello.length - 1), fc.nat(255), (at, value) => {
      const changed = Buffer.from(hello);
      changed[at] = value;
      inspectTlsHello(changed);
    }),
  );
});

test("isHttpAnswer() tells answers of HTTP/1.1 and HTTP/2 from greetings", () => {
  const settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
  const check = (bytes: Buffer, isAnswer: boolean): void =>
    assert.equal(isHttpAnswer(bytes), isAnswer, bytes.toString("latin1"));
  check(Buffer.from("HTTP/1.1 404 Not Found\r\n"), true);
  check(Buffer.from("HTTP/1.0 200 OK\r\n"), true);
  check(Buffer.from(settings), true);
  check(Buffer.from("220 mail.example ESMTP\r\n"), false);
  check(Buffer.from("HTTP"), false);
  check(Buffer.alloc(0), false);
  // MySQL's, and the SETTINGS of a stream, or a client's acknowledgement.
  check(Buffer.from([74, 0, 0, 0, 10, 56, 46, 48, 46, 51, 54, 0]), false);
  check(Buffer.from(settings.with(8, 1)), false);
  check(Buffer.from(settings.with(4, 1)), false);
});

test("inspectHttp() tells HTTP/1, HTTP/2 and other protocols apart", () => {
  const check = (text: string, protocol: string): void => {
    const bytes = Buffer.from(text, "latin1");
    for (let end = 0; end < bytes.length; end++) {
      const kind = inspectHttp(bytes.subarray(0, end)).kind;
      assert.ok(kind === "incomplete" || end > 0, `${kind} after ${end} bytes`);
    }
    const found = inspectHttp(bytes);
    assert.equal(found.kind === "http" ? found.protocol : found.kind, protocol);
  };
  check("GET /items HTTP/1.1\r\n", "http/1.1");
  check("\r\nPOST / HTTP/1.0\r\n", "http/1.0");
  check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c");
  check("PROPFIND / HTTP/1.1\r\n", "http/1.1");
  check("SELECT 1;\n", "other");
  check("\0\0\0\x01", "other");
  check("PING\r\n", "other");
  check("GET / HTTP/3.0\r\n", "other");
});

test("decodeProxyHeader() reads version 1 and leaves what follows", () => {
  const line = "PROXY TCP6 2001:DB8:0:0::1 ::1 4000 443\r\n";
  const bytes = Buffer.from(`${line}GET /`);
  assert.deepEqual(decodeProxyHeader(bytes), {
    kind: "header",
    bytes: line.length,
    version: 1,
    addresses: {
      source: { address: "2001:db8::1", port: 4000 },
      destination: { address: "::1", port: 443 },
    },
    tlvs: new Uint8Array(0),
  });
  for (let end = 0; end < line.length; end++) {
    assert.equal(decodeProxyHeader(bytes.subarray(0, end)).kind, "incomplete");
  }
});

test("decodeProxyHeader() refuses malformed headers and passes what is none", () => {
  const kind = (text: string): string => decodeProxyHeader(Buffer.from(text, "latin1")).kind;
  assert.equal(kind("GET / HTTP/1.1\r\n"), "absent");
  assert.equal(kind("PROXY UNKNOWN ffff::1 whatever\r\n"), "header");
  for (const rest of [
    "TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
    "TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
    "TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
    "TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
    "TCP6 1::2::3 ::1 1 2\r\n",
    "TCP4 1.2.3.4 1.2.3.4 1 2\n",
    "UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "TCP4 0.0.0.0 1.2.3.4 1 2\r\n",
    "TCP4 1.2.3.4 224.0.0.1 1 2\r\n",
    "TCP4 1.2.3.4 255.255.255.255 1 2\r\n",
    "TCP6 :: ::1 1 2\r\n",
    "TCP6 ::1 ff02::1 1 2\r\n",
    "x".repeat(120),
  ]) {
    assert.equal(kind(`PROXY ${rest}`), "malformed", rest);
  }
});

test("decodeProxyHeader() reads version 2, bounded by its length", () => {
  const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
  const addresses = [10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 1, 0xbb];
  const tlv = [4, 0, 1, 0];
  const header = Buffer.from([...signature, 0x21, 0x11, 0, 16, ...addresses, ...tlv]);
  const bytes = Buffer.concat([header, Buffer.from("payload")]);
  assert.deepEqual(decodeProxyHeader(bytes), {
    kind: "header",
    bytes: header.length,
    version: 2,
    addresses: {
      source: { address: "10.0.0.1", port: 40_000 },
      destination: { address: "10.0.0.2", port: 443 },
    },
    tlvs: Uint8Array.from(tlv),
  });
  for (let end = 0; end < header.length; end++) {
    assert.equal(decodeProxyHeader(bytes.subarray(0, end)).kind, "incomplete");
  }
  const local = Buffer.from([...signature, 0x20, 0, 0, 0]);
  const decoded = decodeProxyHeader(local);
  assert.ok(decoded.kind === "header" && decoded.addresses === undefined);
  for (const rest of [
    [0x31, 0x11, 0, 12, ...addresses],
    [0x22, 0x11, 0, 12, ...addresses],
    [0x21, 0x11, 0, 4, 1, 2, 3, 4],
    [0x21, 0x31, 0, 0],
    [0x21, 0x11, 0xff, 0xff],
    [0x21, 0x11, 0, 14, ...addresses, 4, 0],
    [0x21, 0x11, 0, 15, ...addresses, 4, 0, 1],
    [0x21, 0x11, 0, 12, 0, 0, 0, 0, 10, 0, 0, 2, 0, 1, 0, 2],
  ]) {
    assert.equal(decodeProxyHeader(Buffer.from([...signature, ...rest])).kind, "malformed");
  }
});

test("encodeProxyHeader() writes what decodeProxyHeader() reads, IPv6 as soon as one end has it", () => {
  const [ipv4, ipv6] = ["203.0.113.7", "2001:db8::7"].map((address) => ({ address, port: 40_000 }));
  assert(ipv4 !== undefined && ipv6 !== undefined);
  const gateway = { address: "198.18.0.9", port: 443 };
  for (const [source, bytes] of [
    [ipv4, 28],
    [ipv6, 52],
  ] as const) {
    const header = encodeProxyHeader({ source, destination: gateway });
    const addresses = { source, destination: gateway };
    const none = new Uint8Array(0);
    const expected = { kind: "header", bytes, version: 2, addresses, tlvs: none } as const;
    assert.deepEqual(decodeProxyHeader(Buffer.concat([header, Buffer.from("GET /")])), expected);
    const line = Buffer.from(encodeProxyLine(addresses));
    const ofLine = { ...expected, bytes: line.length, version: 1 };
    assert.deepEqual(decodeProxyHeader(Buffer.concat([line, Buffer.from("GET /")])), ofLine);
  }
});

test("encodeProxyHeader() writes values in their order, and who has no addresses says so", () => {
  const end = { address: "203.0.113.7", port: 40_000 };
  const tlvs = [
    { type: 0x02, value: Uint8Array.from(Buffer.from("shop.test")) },
    { type: 0xea, value: new Uint8Array(300).fill(7) },
    { type: 0x02, value: new Uint8Array(0) },
  ];
  const header = encodeProxyHeader({ source: end, destination: end }, tlvs);
  const decoded = decodeProxyHeader(header);
  assert.ok(decoded.kind === "header");
  assert.equal(decoded.bytes, header.length);
  assert.deepEqual([...tlvsOf(decoded.tlvs)], tlvs);
  for (const own of [encodeLocalHeader(), encodeProxyLine(undefined)]) {
    const kept = decodeProxyHeader(own);
    assert.ok(kept.kind === "header" && kept.addresses === undefined, kept.kind);
    assert.equal(kept.bytes, own.length);
  }
});

test("first-byte readers accept any bytes without throwing", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      inspectTlsHello(bytes);
      inspectHttp(bytes);
      decodeProxyHeader(bytes);
      decodeProxyHeader(Buffer.concat([Buffer.from("PROXY "), bytes]));
      inspectTlsHello(Buffer.concat([Buffer.from([22, 3, 1, 0, 80, 1, 0, 0, 76, 3, 3]), bytes]));
    }),
  );
});

test("inspectTlsHello() looks at nothing behind the hello", async () => {
  const hello = await helloOf("catalog", ["istio"]);
  const expected = inspectTlsHello(hello);
  assert.equal(expected.kind, "hello");
  for (const more of [[20, 3, 3, 0, 1, 1], [23, 3, 3, 0, 2, 9, 9], [0]]) {
    assert.deepEqual(inspectTlsHello(Buffer.concat([hello, Buffer.from(more)])), expected);
  }
});

test("inspectTlsHello() takes one name, without empty labels at its end", () => {
  const name = (text: string): number[] => [0, 0, text.length, ...Buffer.from(text)];
  const hello = (...list: readonly number[]): TlsInspection => {
    const extension = [0, 0, 0, list.length + 2, 0, list.length, ...list];
    const body = [3, 3, ...Array<number>(32).fill(7), 0, 0, 2, 0x13, 1, 1, 0, 0, extension.length];
    const message = [1, 0, 0, body.length + extension.length, ...body, ...extension];
    return inspectTlsHello(Buffer.from([22, 3, 1, 0, message.length, ...message]));
  };
  const sniOf = (text: string): string | undefined => {
    const inspected = hello(...name(text));
    return inspected.kind === "hello" ? inspected.hello.sni : inspected.kind;
  };
  assert.equal(sniOf("A.b."), "a.b");
  assert.equal(sniOf("a.b.."), undefined);
  assert.deepEqual(hello(...name("a"), ...name("b")), { kind: "raw" });
});
