import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { Deferred, TurnEnd } from "../base/turn-end.ts";
import type { Channel, ChannelError, ChannelHandler } from "./channel.ts";
import { type InternalChannel, makeInternalPair } from "./internal-channel.ts";

/** Ends turns when it is told to. */
class Turns implements TurnEnd {
  #due: Deferred[] = [];

  defer(work: Deferred): void {
    this.#due.push(work);
  }

  /** Until nothing is due. */
  run(): void {
    for (let rounds = 0; this.#due.length > 0; rounds++) {
      assert(rounds < 10_000, "it comes to rest");
      for (const work of this.#due.splice(0)) work.runDeferred();
    }
  }
}

class End implements ChannelHandler {
  text = "";
  ends = 0;
  drains = 0;
  readonly closes: (string | undefined)[] = [];
  channel: Channel | undefined;

  onData(chunk: Buffer): void {
    assert.equal(this.ends + this.closes.length, 0, "nothing follows the end");
    this.text += chunk.toString("latin1");
  }

  onEnd(): void {
    this.ends++;
  }

  onDrain(): void {
    this.drains++;
  }

  onClose(error: ChannelError | undefined): void {
    this.closes.push(error?.code);
  }
}

interface Pair {
  readonly turns: Turns;
  readonly near: End;
  readonly far: End;
  readonly client: InternalChannel;
  readonly server: InternalChannel;
  readonly faults: unknown[];
  readonly closed: InternalChannel[];
}

function pair(queueBytesMax = 16): Pair {
  const turns = new Turns();
  const [near, far] = [new End(), new End()];
  const faults: unknown[] = [];
  const closed: InternalChannel[] = [];
  const place = (port: number) => ({ address: "10.0.0.1", port });
  const { client, server } = makeInternalPair({
    turnEnd: turns,
    client: near,
    addresses: { client: place(1), server: place(2), destination: place(3) },
    queueBytesMax,
    onFault: (thrown) => faults.push(thrown),
    onClosed: (channel) => closed.push(channel),
  });
  server.handler = far;
  return { turns, near, far, client, server, faults, closed };
}

test("makeInternalPair() carries bytes, and never within the call that writes them", () => {
  const { client, server, far, near, turns } = pair();
  client.write(Buffer.from("hello"));
  assert.equal(far.text, "");
  turns.run();
  assert.equal(far.text, "hello");
  server.write(Buffer.from("welcome"));
  turns.run();
  assert.equal(near.text, "welcome");
  assert.deepEqual(
    [server.originalDestination.port, server.remote.port, client.remote.port],
    [3, 1, 2],
  );
});

test("writeShared() keeps a copy: the memory is the writer's again", () => {
  const { client, far, turns } = pair();
  const memory = Buffer.from("hello");
  client.writeShared(memory, 4);
  memory.fill("x");
  turns.run();
  assert.equal(far.text, "hell");
});

test("write() says when too much waits, and that there is room again", () => {
  const { client, server, far, near, turns } = pair(10);
  server.pause();
  assert.equal(client.write(Buffer.alloc(10, "a")), true);
  assert.equal(client.write(Buffer.alloc(1, "b")), false);
  turns.run();
  assert.equal(far.text, "");
  assert.equal(client.queuedBytes, 11);
  assert.equal(near.drains, 0);
  server.resume();
  turns.run();
  assert.equal(far.text.length, 11);
  assert.equal(near.drains, 1);
  assert.equal(client.queuedBytes, 0);
});

test("end() lets the other end go on, and both close when both have ended", () => {
  const { client, server, far, near, turns, closed } = pair();
  client.write(Buffer.from("last"));
  client.end();
  turns.run();
  assert.deepEqual([far.text, far.ends, far.closes], ["last", 1, []]);
  server.write(Buffer.from("answer"));
  turns.run();
  assert.equal(near.text, "answer");
  server.end();
  turns.run();
  assert.deepEqual([near.closes, far.closes], [[undefined], [undefined]]);
  assert.equal(closed.length, 2);
});

test("destroy() is an end for the other side, after what was written, and breaks what it writes then", () => {
  const { client, server, far, near, turns } = pair();
  client.write(Buffer.from("last"));
  client.destroy();
  turns.run();
  assert.deepEqual([near.closes, far.text, far.ends, far.closes], [[undefined], "last", 1, []]);
  server.write(Buffer.from("too late"));
  turns.run();
  assert.deepEqual(far.closes, ["EPIPE"]);
});

test("destroy() with a reset loses what waits, paused or not", () => {
  const { client, server, far, near, turns } = pair();
  server.pause();
  client.write(Buffer.from("lost"));
  client.destroy("reset");
  turns.run();
  assert.deepEqual([far.text, far.closes, near.closes], ["", ["ECONNRESET"], [undefined]]);
});

test("a handler that throws ends its connection, and nobody else's turn", () => {
  const { client, server, near, turns, faults } = pair();
  server.handler = {
    ...silent,
    onData: () => {
      throw new Error("a mistake");
    },
  };
  client.write(Buffer.from("hello"));
  turns.run();
  assert.equal(faults.length, 1);
  assert.deepEqual(near.closes, ["ECONNRESET"]);
});

const silent: ChannelHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};

const step = fc.oneof(
  fc.record({
    kind: fc.constant("write" as const),
    by: fc.boolean(),
    text: fc.string({ maxLength: 9 }),
  }),
  fc.record({ kind: fc.constantFrom("pause", "resume", "end" as const), by: fc.boolean() }),
  fc.record({ kind: fc.constant("turn" as const) }),
);

test("makeInternalPair() delivers everything once, in order, and closes each end once, whatever is done", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { client, server, near, far, turns, closed } = pair();
      const said: [string, string] = ["", ""];
      const ended: [boolean, boolean] = [false, false];
      for (const one of steps) {
        if (one.kind === "turn") {
          turns.run();
          continue;
        }
        const channel = one.by ? client : server;
        const at = one.by ? 0 : 1;
        if (one.kind === "write") {
          channel.write(Buffer.from(one.text, "latin1"));
          if (!ended[at]) said[at] += Buffer.from(one.text, "latin1").toString("latin1");
        } else if (one.kind === "end") {
          channel.end();
          ended[at] = true;
        } else channel[one.kind]();
      }
      for (const channel of [client, server]) {
        channel.resume();
        channel.end();
      }
      turns.run();
      assert.deepEqual([far.text, near.text], said);
      assert.deepEqual([near.ends, far.ends], [1, 1]);
      assert.deepEqual([near.closes, far.closes], [[undefined], [undefined]]);
      assert.equal(closed.length, 2);
    }),
  );
});
