import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { ScriptedChannel } from "../../test/support/scripted-channel.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import type { Channel, ChannelError } from "./channel.ts";
import type { DialOptions } from "./dialler.ts";
import { createRacingDialler, type RacingDialOptions } from "./racing-dialler.ts";

interface Attempt {
  readonly dial: DialOptions;
  readonly channel: ScriptedChannel;
}

/** Three ways, and what has come of them. */
function start({ timeoutMs = 5_000, onClose = (): void => {} } = {}) {
  const clock = new FakeClock();
  const attempts: Attempt[] = [];
  const connected: Channel[] = [];
  const closed: (ChannelError | undefined)[] = [];
  const faults: string[] = [];
  let further = 0;
  const dialler = createRacingDialler(
    {
      dial(dial) {
        const channel = new ScriptedChannel();
        channel.handler = dial.handler;
        attempts.push({ dial, channel });
        return channel;
      },
    },
    clock,
    { ...silentLog, error: (text) => faults.push(text) },
  );
  const options: RacingDialOptions = {
    address: { address: "a", port: 1 },
    tls: undefined,
    timeoutMs,
    sourceAddress: "of a",
    ways: {
      all: ["a", "b", "c"].map((address) => ({ address: { address, port: 1 } })),
      onFurther: () => further++,
    },
    handler: {
      onData: () => {},
      onEnd: () => {},
      onDrain: () => {},
      onClose: (error) => {
        closed.push(error);
        onClose();
      },
    },
    onConnect: (channel) => connected.push(channel),
  };
  const channel = dialler.dial(options);
  const addresses = (): string => attempts.map(({ dial }) => dial.address.address).join("");
  const open = (): string =>
    attempts
      .filter((attempt) => !attempt.channel.isClosed)
      .map(({ dial }) => dial.address.address)
      .join("");
  const attempt = (at: number): Attempt => {
    const found = attempts[at];
    assert.ok(found !== undefined);
    return found;
  };
  return {
    clock,
    channel,
    connected,
    closed,
    addresses,
    open,
    attempt,
    faults,
    further: () => further,
    connect: (at: number) => attempt(at).dial.onConnect(attempt(at).channel),
    fail: (at: number, code = "ECONNREFUSED") => attempt(at).channel.close({ code, message: code }),
  };
}

test("RacingDialler gives each way a head start of 300 ms, and lets go of the losers", () => {
  const race = start();
  race.clock.advance(299);
  assert.equal(race.addresses(), "a");
  assert.equal(race.attempt(0).dial.sourceAddress, undefined);
  race.clock.advance(1);
  assert.equal(race.addresses(), "ab");
  race.clock.advance(300);
  assert.equal(race.addresses(), "abc");
  assert.equal(race.further(), 2);
  race.connect(1);
  assert.equal(race.open(), "b");
  assert.deepEqual(race.connected, [race.channel]);
  race.channel.write(Buffer.from("hello"));
  assert.equal(race.attempt(1).channel.take(), "hello");
});

test("RacingDialler says so where who is told of the failure throws", async () => {
  const broken = (): void => {
    throw new Error("broken");
  };
  const race = start({ onClose: broken });
  for (const at of [0, 1, 2]) race.fail(at);
  await Promise.resolve();
  assert.equal(race.closed.length, 1);
  assert.deepEqual(race.faults, ["a connection's handler failed"]);
});

test("RacingDialler takes the next way at once where one fails", () => {
  const race = start();
  race.clock.advance(200);
  race.fail(0);
  assert.equal(race.addresses(), "ab");
  race.clock.advance(299);
  assert.equal(race.addresses(), "ab");
  race.clock.advance(1);
  assert.equal(race.addresses(), "abc");
  race.fail(1);
  race.connect(2);
  assert.equal(race.connected.length, 1);
  assert.deepEqual(race.closed, []);
});

test("RacingDialler tells of one failure, the last, when all ways have failed", async () => {
  const race = start();
  for (const [at, code] of ["first", "second", "third"].entries()) race.fail(at, code);
  assert.deepEqual(race.closed, [], "not while it is called");
  await Promise.resolve();
  assert.deepEqual(race.closed, [{ code: "third", message: "third" }]);
  assert.equal(race.channel.isClosed, true);
});

test("RacingDialler has one time for all ways together", async () => {
  const race = start({ timeoutMs: 450 });
  race.clock.advance(449);
  assert.equal(race.open(), "ab");
  race.clock.advance(1);
  assert.equal(race.open(), "");
  await Promise.resolve();
  assert.equal(race.closed[0]?.code, "ETIMEDOUT");
  race.clock.advance(10_000);
  assert.equal(race.addresses(), "ab");
});

test("RacingDialler ends what nobody wants any more", async () => {
  const race = start();
  race.clock.advance(300);
  race.channel.destroy();
  assert.equal(race.open(), "");
  race.clock.advance(300);
  assert.equal(race.addresses(), "ab");
  await Promise.resolve();
  assert.deepEqual(race.closed, [undefined]);
  // It was on its way already.
  race.connect(1);
  assert.deepEqual(race.connected, []);
});
