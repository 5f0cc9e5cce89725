import assert from "node:assert/strict";
import os from "node:os";
import { test } from "node:test";

import { KeptSockets } from "./kept-sockets.ts";
import type { DescriptorMessage } from "./native/descriptor-messages.ts";

const { EAGAIN } = os.constants.errno;
const at = (port: number) => ({ address: "127.0.0.1", port });

/** A line that takes so many messages, and then as many as its keeper has read. */
class FakeLine {
  room = 1000;
  readonly taken: string[] = [];
  readonly waiting: (DescriptorMessage | "end")[] = [];
  later = 0;

  send(_line: number, { text, fd }: DescriptorMessage): number {
    if (this.taken.length >= this.room) return -EAGAIN;
    const { kind, address } = JSON.parse(text) as { kind: string; address?: string };
    this.taken.push([kind, address, fd].filter((part) => part !== undefined).join(" "));
    return 0;
  }

  receive(): DescriptorMessage | "end" | undefined {
    return this.waiting[0] === "end" ? "end" : this.waiting.shift();
  }

  open(): KeptSockets {
    return new KeptSockets(this, 3, () => this.later++);
  }
}

test("KeptSockets says later what a full line does not take, in order, and nothing of what is closed", () => {
  const line = new FakeLine();
  line.room = 2;
  const kept = line.open();
  for (const port of [1, 2, 3, 4]) kept.onOpened(at(port), 10 + port);
  kept.onClosed(at(3));
  kept.onReady();
  assert.equal(line.later, 1);
  line.room = 4;
  kept.tellMore();
  assert.equal(line.later, 2);
  line.room = 1000;
  kept.tellMore();
  kept.onOpened(at(5), 15);
  assert.deepEqual(line.taken, [
    "opened tcp 127.0.0.1:1 11",
    "opened tcp 127.0.0.1:2 12",
    "opened tcp 127.0.0.1:4 14",
    "closed tcp 127.0.0.1:3",
    "ready",
    "opened tcp 127.0.0.1:5 15",
  ]);
});

test("KeptSockets tells a keeper that has died from one that has another process serve", () => {
  for (const [said, isSucceeded] of [
    [["end"], false],
    [[{ text: "succeeded", fd: undefined }, "end"], true],
  ] as const) {
    const line = new FakeLine();
    const kept = line.open();
    assert.equal(kept.isOver(), false);
    line.waiting.push(...said);
    assert.equal(kept.isOver(), true);
    assert.equal(kept.isSucceeded(), isSucceeded);
    // Its descriptor may be another line by now.
    kept.onOpened(at(1), 11);
    assert.deepEqual(line.taken, []);
  }
});
