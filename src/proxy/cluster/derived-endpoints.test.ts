import assert from "node:assert/strict";
import { test } from "node:test";

import type { ClientTls } from "../../net/dialler.ts";
import type { UpstreamEndpoint } from "../context.ts";
import { DerivedEndpoints } from "./derived-endpoints.ts";

const tls: ClientTls = { kind: "client-tls", alpn: [] };

function endpoint(): UpstreamEndpoint {
  return {
    address: { address: "127.0.0.1", port: 80 },
    hostname: "",
    metadata: {},
    tls: undefined,
    active: 0,
    report: () => {},
  };
}

test("DerivedEndpoints gives the same endpoint for the same key", () => {
  const derived = new DerivedEndpoints(() => assert.fail("nothing is dropped"));
  const origin = endpoint();
  assert.equal(derived.find(origin, "a"), undefined);
  const made = derived.add(origin, "a", { tls });
  assert.equal(derived.find(origin, "a"), made);
  assert.equal(derived.find(endpoint(), "a"), undefined);
  assert.equal(made.tls, tls);
  assert.equal(made.origin, origin);
  made.active += 1;
  assert.equal(origin.active, 1);
});

test("DerivedEndpoints drops the one used longest ago, past 256 of an endpoint", () => {
  let dropped = 0;
  const derived = new DerivedEndpoints(() => dropped++);
  const origin = endpoint();
  for (let i = 0; i < 256; i++) derived.add(origin, String(i), { tls });
  assert.notEqual(derived.find(origin, "0"), undefined);
  const second = derived.find(origin, "1");
  derived.find(origin, "0");
  for (let i = 2; i < 256; i++) derived.find(origin, String(i));
  derived.add(origin, "more", { tls });
  assert.equal(dropped, 1);
  assert.equal(second?.isRemoved, true);
  assert.equal(derived.find(origin, "1"), undefined);
  assert.notEqual(derived.find(origin, "0"), undefined);
});

test("DerivedEndpoints.forget() ends connections to all of an endpoint's", () => {
  const derived = new DerivedEndpoints(() => {});
  const origin = endpoint();
  const told: string[] = [];
  for (const key of ["a", "b"]) {
    const made = derived.add(origin, key, { tls });
    made.onRemoved = () => told.push(`${key} removed`);
    made.onDrained = () => told.push(`${key} drained`);
  }
  derived.forget(origin, "drain");
  derived.forget(origin, "remove");
  assert.deepEqual(told, ["a drained", "b drained", "a removed", "b removed"]);
});
