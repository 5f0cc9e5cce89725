import assert from "node:assert/strict";
import { test } from "node:test";

import * as dnsPacket from "dns-packet";
import fc from "fast-check";

import {
  decodeAddresses,
  decodeDnsQuery,
  type DnsQuery,
  encodeDnsResponse,
  encodeFormatError,
  isAnswerTo,
  unframeDns,
} from "./dns.ts";

function query(name: string): Buffer {
  const additionals = [
    {
      type: "OPT" as const,
      name: "." as const,
      udpPayloadSize: 4096,
      flags: 0,
      options: [],
      extendedRcode: 0,
      ednsVersion: 0,
      flag_do: false,
    },
  ];
  const questions = [{ type: "A" as const, name }];
  return dnsPacket.encode({ type: "query", id: 513, flags: 256, questions, additionals });
}

function decoded(name: string): DnsQuery {
  const found = decodeDnsQuery(query(name));
  assert.ok(found !== undefined);
  return found;
}

test("decodeDnsQuery() reads what another library writes", () => {
  assert.deepEqual(decoded("Catalog.Default"), {
    id: 513,
    opcode: 0,
    recursionDesired: true,
    question: { name: "catalog.default", type: 1, class: 1 },
    udpBytesMax: 1232,
    hasEdns: true,
  });
});

test("decodeDnsQuery() refuses every query that is cut short", () => {
  const bytes = query("catalog.default.svc.cluster.local");
  for (let end = 0; end < bytes.length; end++) {
    assert.equal(decodeDnsQuery(bytes.subarray(0, end)), undefined, `${end} bytes`);
  }
});

test("decodeDnsQuery() refuses compression that loops or looks ahead", () => {
  const head = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  const check = (...name: number[]): void => {
    assert.equal(decodeDnsQuery(Buffer.from([...head, ...name, 0, 1, 0, 1])), undefined);
  };
  check(0xc0, 12);
  check(1, 97, 0xc0, 12);
  check(0xc0, 14, 0);
  check(0x40, 97);
});

test("encodeDnsResponse() is read by another library, and truncates at the limit", () => {
  const name = "catalog.default.svc.cluster.local";
  const response = {
    query: decoded(name),
    code: 0,
    isAuthoritative: true,
    ttlSeconds: 30,
    bytesMax: 1232,
  };
  const bytes = encodeDnsResponse({
    ...response,
    answers: [
      { type: "a", name, address: "198.19.0.5" },
      { type: "aaaa", name, address: "fd48::5" },
      { type: "srv", name, priority: 1, weight: 2, port: 80, target: name },
      { type: "cname", name, target: "other.example.com" },
    ],
  });
  const read = dnsPacket.decode(bytes);
  assert.equal(read.id, 513);
  assert.deepEqual(
    read.answers?.map((answer) => Reflect.get(answer, "data")),
    [
      "198.19.0.5",
      "fd48::5",
      { priority: 1, weight: 2, port: 80, target: name },
      "other.example.com",
    ],
  );
  assert.deepEqual(decodeAddresses(bytes)?.addresses, ["198.19.0.5", "fd48::5"]);
  assert.ok(isAnswerTo(response.query, bytes));
  assert.ok(!isAnswerTo(decoded("another"), bytes));
  const many = Array.from({ length: 99 }, () => ({ type: "a", name, address: "1.2.3.4" }) as const);
  const short = encodeDnsResponse({ ...response, answers: many });
  assert.ok(short.length <= 1232);
  assert.equal(Reflect.get(dnsPacket.decode(short), "flag_tc"), true);
});

test("decoders accept any bytes without throwing", () => {
  const template = query("catalog.default");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(60), (bytes, at) => {
      const changed = Buffer.concat([template.subarray(0, at), bytes]);
      decodeDnsQuery(changed);
      decodeAddresses(changed);
      encodeFormatError(changed);
      unframeDns(changed);
    }),
  );
});
