import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeSockaddr, encodeSockaddr } from "../sysio/sockaddr.ts";
import { ConnectionRing } from "./connection-ring.ts";

const peer = encodeSockaddr({ address: "10.1.2.3", port: 4567 });

test("ConnectionRing gives what was put, in order, to a reader that has only the memory", () => {
  const writer = new ConnectionRing();
  const reader = new ConnectionRing(writer.memory);
  assert.ok(writer.put(7, 1, peer) && writer.put(8, 2, peer));
  const first = reader.take();
  assert.deepEqual([first?.fd, first?.listener], [7, 1]);
  assert.deepEqual(decodeSockaddr(first?.peer ?? Buffer.alloc(0)), {
    address: "10.1.2.3",
    port: 4567,
  });
  assert.equal(reader.take()?.fd, 8);
  assert.equal(reader.take(), undefined);
});

test("ConnectionRing takes no more than it holds, round after round", () => {
  const ring = new ConnectionRing();
  for (let round = 0; round < 5; round++) {
    let count = 0;
    while (ring.put(count, 1, peer)) count++;
    assert.equal(count, 1024);
    for (let i = 0; i < count; i++) assert.equal(ring.take()?.fd, i);
    assert.equal(ring.take(), undefined);
  }
});

test("ConnectionRing counts connections until they have ended", () => {
  const ring = new ConnectionRing();
  ring.put(1, 1, peer);
  ring.put(2, 1, peer);
  ring.take();
  assert.equal(ring.open, 2);
  ring.onEnded();
  assert.equal(ring.open, 1);
});

test("mustWake() once for each time that the reader fell asleep", () => {
  const ring = new ConnectionRing();
  assert.equal(ring.mustWake(), false);
  ring.sleep();
  assert.deepEqual([ring.mustWake(), ring.mustWake()], [true, false]);
});
