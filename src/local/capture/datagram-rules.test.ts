import assert from "node:assert/strict";
import { test } from "node:test";

import { datagramRules } from "./datagram-rules.ts";

test("datagramRules() lets the proxy's own datagrams pass before it redirects any, in both families", () => {
  const lines = datagramRules(0x539)
    .split("\n")
    .map((line) => line.trim());
  const at = (text: string): number => lines.findIndex((line) => line.includes(text));
  assert.ok(at("meta mark 0x539 return") > at("type nat hook output"));
  for (const [family, map] of [
    ["ip", "services4"],
    ["ip6", "services6"],
  ] as const) {
    const redirect = `udp redirect to :${family} daddr . udp dport map @${map}`;
    assert.ok(at(redirect) > at("meta mark 0x539 return"), family);
  }
  // Before capture's own, which would take DNS of a service for a question to the resolver.
  assert.ok(at("priority -101") >= 0);
});
