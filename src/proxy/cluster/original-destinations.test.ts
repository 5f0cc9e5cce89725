import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { Endpoint } from "./endpoint.ts";
import { OriginalDestinations } from "./original-destinations.ts";

const there: SocketAddress = { address: "192.0.2.1", port: 80 };

function destinations(cleanupMs: number) {
  const clock = new FakeClock();
  const made = new OriginalDestinations(
    cleanupMs,
    clock,
    (address) =>
      new Endpoint(
        { address, hostname: "", weight: 1, status: "HEALTHY", metadata: {}, tls: undefined },
        {
          hashesHostname: false,
          isNamed: false,
          waysTo: () => undefined,
          onReport: () => {},
          onConnectionsOver: () => {},
          stats: undefined,
        },
      ),
  );
  return { clock, made };
}

test("pick() keeps an endpoint that is asked for, and forgets one that is not (`cleanup_interval`)", () => {
  const { clock, made } = destinations(5000);
  const first = made.pick(there);
  clock.advance(5000);
  assert.equal(made.pick(there), first);
  clock.advance(5000);
  assert.equal(first.isRemoved, false);
  clock.advance(5000);
  assert.equal(first.isRemoved, true);
  assert.notEqual(made.pick(there), first);
  made.close();
});

test("pick() forgets no endpoint that is in use", () => {
  const { clock, made } = destinations(5000);
  const first = made.pick(there);
  first.active++;
  clock.advance(20_000);
  assert.equal(first.isRemoved, false);
  first.active--;
  clock.advance(10_000);
  assert.equal(first.isRemoved, true);
});
