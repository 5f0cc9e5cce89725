import assert from "node:assert/strict";
import { test } from "node:test";

import type { Deferred } from "../base/turn-end.ts";
import { FrameMemory } from "./http2-frame-memory.ts";
import { FloodGuard, defaultFloodLimits } from "./http2-floods.ts";
import { Http2Sender } from "./http2-sender.ts";

/** A turn that ends when the test says so, and connections that count their writes. */
class Turn {
  readonly writes: string[] = [];
  readonly memory: FrameMemory;
  readonly #deferred: Deferred[] = [];

  constructor() {
    this.memory = new FrameMemory({ defer: (work) => void this.#deferred.push(work) });
  }

  sender(name: string): Http2Sender {
    const send = (_memory: Buffer, length: number): boolean => {
      this.writes.push(`${name} ${length}`);
      return true;
    };
    return new Http2Sender(this.memory, send, new FloodGuard(defaultFloodLimits));
  }

  end(): void {
    for (const work of this.#deferred.splice(0)) work.runDeferred();
  }
}

test("FrameMemory sends what a connection gathered in a turn in one write, at its end", () => {
  const turn = new Turn();
  const [one, other] = [turn.sender("one"), turn.sender("other")];
  one.reset(1, 0);
  assert.equal(one.flushSoon(), true);
  other.reset(1, 0);
  one.reset(3, 0);
  assert.deepEqual(turn.writes, []);
  turn.end();
  assert.deepEqual(turn.writes, ["one 26", "other 13"]);
  one.reset(5, 0);
  turn.end();
  assert.deepEqual(turn.writes.slice(2), ["one 13"]);
});

test("FrameMemory does not wait with much, nor for whoever says so, nor for the dead", () => {
  const turn = new Turn();
  const one = turn.sender("one");
  for (let id = 1; id < 2000; id += 2) one.reset(id, 0);
  one.flushSoon();
  assert.deepEqual(turn.writes, ["one 13000"]);
  one.reset(1, 0);
  one.flush();
  assert.deepEqual(turn.writes.slice(1), ["one 13"]);
  one.reset(3, 0);
  one.close();
  turn.end();
  assert.equal(turn.writes.length, 2);
});

test("FrameMemory lends to so many connections at once, and sends those before them", () => {
  const turn = new Turn();
  for (let at = 0; at < 65; at++) turn.sender(String(at)).reset(1, 0);
  assert.equal(turn.writes.length, 64);
  turn.end();
  assert.equal(turn.writes.length, 65);
});
