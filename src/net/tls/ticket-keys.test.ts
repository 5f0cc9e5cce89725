import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";

import { adoptTicketSeed, configuredTicketKey, ownTicketKeys, ticketSeed } from "./ticket-keys.ts";

const periodMs = 12 * 3_600_000;
const scope = Buffer.from("a chain");

function namesAt(nowMs: number, of = scope): readonly string[] {
  return ownTicketKeys(nowMs, of).map(({ name }) => name.toString("hex"));
}

test("ownTicketKeys() changes with the time, and opens what the period before sealed", () => {
  adoptTicketSeed({ period: 10, secret: randomBytes(32) });
  const [first = ""] = namesAt(10 * periodMs);
  assert.deepEqual(namesAt(11 * periodMs - 1), [first]);
  const [second = "", ...older] = namesAt(11 * periodMs);
  assert.notEqual(second, first);
  assert.deepEqual(older, [first]);
  const [third = ""] = namesAt(13 * periodMs + 5);
  assert.ok(!namesAt(13 * periodMs + 5).some((name) => [first, second].includes(name)));
  // A clock that was set back opens nothing old.
  assert.deepEqual(namesAt(0)[0], third);
});

test("ownTicketKeys() is the same in another thread, whenever that was started", () => {
  const secret = randomBytes(32);
  adoptTicketSeed({ period: 5, secret });
  const early = ticketSeed(5 * periodMs);
  const here = namesAt(8 * periodMs);
  const late = ticketSeed(8 * periodMs);
  adoptTicketSeed(early);
  assert.deepEqual(namesAt(8 * periodMs), here);
  adoptTicketSeed(late);
  assert.deepEqual(namesAt(8 * periodMs), here.slice(0, 1));
  assert.notDeepEqual(late.secret, early.secret);
});

test("ownTicketKeys() differs for each scope", () => {
  adoptTicketSeed({ period: 1, secret: randomBytes(32) });
  const [one] = ownTicketKeys(periodMs, scope);
  const [other] = ownTicketKeys(periodMs, Buffer.from("another chain"));
  assert.ok(one !== undefined && other !== undefined);
  for (const part of ["name", "mac", "cipher"] as const) assert.ok(!one[part].equals(other[part]));
});

test("configuredTicketKey() is not the key itself", () => {
  const given = randomBytes(80);
  const { name, mac, cipher } = configuredTicketKey(given);
  assert.deepEqual([name.length, mac.length, cipher.length], [16, 32, 32]);
  for (const part of [name, mac, cipher]) assert.ok(!given.includes(part));
  assert.deepEqual(configuredTicketKey(given).cipher, cipher);
});
