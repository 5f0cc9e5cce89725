/** What the reader of PROXY headers promises, and inputs to begin with. */
import assert from "node:assert/strict";

import {
  decodeProxyHeader,
  encodeLocalHeader,
  encodeProxyHeader,
  encodeProxyLine,
  type ProxyHeader,
  proxyVersionOf,
  tlvsOf,
} from "../../src/wire/proxy-protocol.ts";
import type { FuzzTarget } from "./fuzzer.ts";
import { referenceProxyHeader } from "./proxy-protocol-reference.ts";
import type { Random } from "./random.ts";

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const signature = latin1("\r\n\r\n\0\r\nQUIT\n");
const [ipv4, ipv6] = ["10.0.0.1", "2001:db8::1"].map((address) => ({ address, port: 40_000 }));

function version2(...rest: readonly number[]): Buffer {
  return Buffer.concat([signature, Buffer.from(rest)]);
}

function seeds(): readonly Buffer[] {
  assert.ok(ipv4 !== undefined && ipv6 !== undefined);
  return [
    latin1("PROXY TCP4 10.0.0.1 10.0.0.2 4000 443\r\nGET / HTTP/1.1\r\n"),
    latin1("PROXY TCP6 2001:DB8:0:0::1 ::1 4000 443\r\n"),
    latin1("PROXY TCP6 1:2:3:4:5:6:7:8 fe80::1 0 65535\r\n"),
    latin1("PROXY UNKNOWN\r\n"),
    latin1("PROXY UNKNOWN ffff::1 whatever\r\n"),
    latin1("GET / HTTP/1.1\r\n"),
    Buffer.from(encodeProxyHeader({ source: ipv4, destination: ipv4 })),
    Buffer.from(encodeProxyHeader({ source: ipv6, destination: ipv4 })),
    Buffer.from(encodeProxyLine({ source: ipv4, destination: ipv4 })),
    Buffer.from(encodeProxyLine({ source: ipv6, destination: ipv4 })),
    Buffer.from(encodeLocalHeader()),
    version2(0x21, 0x11, 0, 16, 10, 0, 0, 1, 10, 0, 0, 2, 156, 64, 1, 187, 4, 0, 1, 0),
    version2(0x21, 0x31, 0, 0),
  ];
}

function check(input: Buffer, random: Random): void {
  const before = Buffer.from(input);
  const header = decodeProxyHeader(input);
  assert.deepEqual(
    withoutReason(header),
    referenceProxyHeader(input),
    "differs from the reference",
  );
  const first = firstVerdict(input, random);
  assert.deepEqual(withoutReason(first), withoutReason(header), "depends on how the bytes arrive");
  const version = proxyVersionOf(input);
  if (header.kind === "header") assert.equal(version, header.version);
  else if (header.kind === "absent" || input.length === 0) assert.equal(version, undefined);
  else assert.ok(version !== undefined, "it begins like one, but of no version");
  if (header.kind === "header" && header.addresses !== undefined) {
    const { addresses, tlvs } = header;
    const again = decodeProxyHeader(encodeProxyHeader(addresses, [...tlvsOf(tlvs)]));
    assert.deepEqual(
      again.kind === "header" && [again.addresses, again.tlvs],
      [addresses, tlvs],
      "what it understood is understood otherwise",
    );
    const line = decodeProxyHeader(encodeProxyLine(addresses));
    assert.deepEqual(line.kind === "header" && line.addresses, addresses, "in version 1");
  }
  if (header.kind === "header" && header.addresses === undefined) {
    const own = decodeProxyHeader(encodeProxyLine(undefined));
    assert.ok(own.kind === "header" && own.addresses === undefined);
  }
  assert.ok(before.equals(input), "changes what it reads");
}

function withoutReason(header: ProxyHeader): unknown {
  return header.kind === "malformed" ? { kind: "malformed" } : header;
}

function firstVerdict(input: Buffer, random: Random): ProxyHeader {
  let verdict = decodeProxyHeader(input.subarray(0, 0));
  for (let end = 0; end < input.length && verdict.kind === "incomplete";) {
    end = Math.min(input.length, end + 1 + random.below(Math.ceil(input.length / 4)));
    verdict = decodeProxyHeader(Buffer.concat([input.subarray(0, end), tail]).subarray(0, end));
  }
  return verdict;
}

/** Stands in memory behind each piece. */
const tail = latin1("\r\n10.0.0.9 1 2\r\n");

export const proxyProtocolTarget: FuzzTarget = {
  tokens: [
    ...["PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", "\r\n", "\n", " ", "::", ":0", "1.2.3.4"].map(
      latin1,
    ),
    ...["255", "256", "65535", "65536", "00", "ffff:", ".", "abcd"].map(latin1),
    signature,
    Buffer.from([0x21, 0x11]),
    Buffer.from([0x21, 0x21]),
    Buffer.from([0x20]),
    Buffer.from([0, 12]),
    Buffer.from([0, 16]),
    Buffer.from([4, 0, 1, 65]),
    Buffer.from([0, 36]),
    Buffer.alloc(12),
    Buffer.alloc(36),
  ],
  seeds: seeds(),
  bytesMax: 6000,
  check,
};
