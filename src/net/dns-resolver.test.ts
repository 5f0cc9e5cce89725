import assert from "node:assert/strict";
import { test } from "node:test";

import * as dnsPacket from "dns-packet";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { ScriptedChannel } from "../../test/support/scripted-channel.ts";
import { frameDns } from "../wire/dns.ts";
import type { DialOptions } from "./dialler.ts";
import { createDnsResolver } from "./dns-resolver.ts";
import type { AddressFamily } from "./resolver.ts";

type Records = readonly { readonly type: "A" | "AAAA" | "CNAME"; readonly data: string }[];

/** A name server that answers each question from `records`, with `code`. */
function resolverOver(records: Records, { code = 0, isSilent = false } = {}) {
  const clock = new FakeClock();
  const asked: string[] = [];
  const resolver = createDnsResolver({
    upstream: { address: "198.18.0.1", port: 53 },
    clock,
    dialler: {
      dial(options: DialOptions) {
        const channel = new ScriptedChannel();
        channel.handler = options.handler;
        queueMicrotask(() => {
          options.onConnect(channel);
          if (!isSilent) answer(channel, asked, { records, code });
        });
        return channel;
      },
    },
  });
  return { resolver, clock, asked };
}

function answer(
  channel: ScriptedChannel,
  asked: string[],
  { records, code }: { readonly records: Records; readonly code: number },
): void {
  const query = dnsPacket.decode(Buffer.from(channel.take(), "latin1").subarray(2));
  const question = query.questions?.[0];
  assert.ok(question !== undefined && channel.handler !== undefined);
  asked.push(`${question.type} ${question.name}`);
  const found = records.filter(({ type }) => type === question.type || type === "CNAME");
  const message = dnsPacket.encode({
    type: "response",
    id: query.id ?? 0,
    flags: 0x0180 | code,
    questions: [question],
    answers: found.map((record, i) => ({ ...record, name: question.name, ttl: 60 + i })),
  });
  channel.send(frameDns(message).toString("latin1"));
}

test("resolve() asks for the families that are wanted", async () => {
  const records: Records = [
    { type: "A", data: "192.0.2.1" },
    { type: "A", data: "192.0.2.2" },
    { type: "AAAA", data: "2001:db8::1" },
  ];
  const cases: [AddressFamily, string[], string[]][] = [
    ["ipv4", ["192.0.2.1", "192.0.2.2"], ["A api.example.com"]],
    ["ipv6", ["2001:db8::1"], ["AAAA api.example.com"]],
    [
      "any",
      ["192.0.2.1", "192.0.2.2", "2001:db8::1"],
      ["A api.example.com", "AAAA api.example.com"],
    ],
  ];
  for (const [family, addresses, questions] of cases) {
    const { resolver, asked } = resolverOver(records);
    const found = await resolver.resolve("API.example.com.", family);
    assert.deepEqual(found, { addresses, ttlMs: 60_000 });
    assert.deepEqual(asked, questions);
  }
});

test("resolve() follows aliases that come with the answer", async () => {
  const { resolver } = resolverOver([
    { type: "CNAME", data: "edge.example.net" },
    { type: "A", data: "192.0.2.9" },
  ]);
  assert.deepEqual((await resolver.resolve("api.example.com", "ipv4")).addresses, ["192.0.2.9"]);
});

test("resolve() knows names without addresses from those that the server says nothing of", async () => {
  const none = { addresses: [], ttlMs: undefined };
  const missing = resolverOver([], { code: 3 });
  assert.deepEqual(await missing.resolver.resolve("no.example.com", "any"), none);
  const empty = resolverOver([]);
  assert.deepEqual(await empty.resolver.resolve("no.example.com", "ipv4"), none);
  const broken = resolverOver([], { code: 2 });
  await assert.rejects(broken.resolver.resolve("no.example.com", "ipv4"), /answers with code 2/);
  await assert.rejects(empty.resolver.resolve("a..b", "ipv4"), /no name of a host/);
});

test("resolve() gives a silent server two seconds", async () => {
  const { resolver, clock } = resolverOver([], { isSilent: true });
  const answered = assert.rejects(
    resolver.resolve("api.example.com", "ipv4"),
    /name server 198\.18\.0\.1:53 does not answer/,
  );
  clock.advance(2_000);
  await answered;
});
