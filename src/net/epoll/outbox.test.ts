import assert from "node:assert/strict";
import os from "node:os";
import { test } from "node:test";

import { ScriptedKernel } from "../../../test/support/scripted-kernel.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import type { ChannelHandler } from "../channel.ts";
import { EpollChannel } from "./epoll-channel.ts";
import { Outbox, type Sender } from "./outbox.ts";
import { Reactor } from "./reactor.ts";

const { EAGAIN, EPIPE } = os.constants.errno;
const address = { address: "127.0.0.1", port: 1 };
const readEvent = { events: 1, generation: 1 };

function open(
  fds: readonly number[],
  onData: (channel: EpollChannel) => void,
  writeQueueBytesMax = 65_536,
) {
  const kernel = new ScriptedKernel();
  const reactor = new Reactor(kernel, silentLog);
  const closed: string[] = [];
  const channels = fds.map((fd) => {
    const handler: ChannelHandler = {
      onData: () => onData(channel),
      onEnd: () => {},
      onDrain: () => {},
      onClose: (error) => void closed.push(`${fd} ${error?.code ?? ""}`),
    };
    const channel: EpollChannel = new EpollChannel(
      {
        reactor,
        fd,
        handler,
        local: address,
        remote: address,
        writeQueueBytesMax,
        onFault: () => {},
      },
      undefined,
    );
    return channel;
  });
  kernel.calls.length = 0;
  const turn = (answers: readonly number[]): void => {
    kernel.answers["read"] = fds.map(() => 5);
    kernel.answers["write"] = [...answers];
    kernel.turn(fds.map((fd) => ({ fd, ...readEvent })));
  };
  const writes = (): string[] => kernel.calls.filter((call) => !call.startsWith("epollControl"));
  return { kernel, channels, closed, turn, writes };
}

const say = (channel: EpollChannel, text: string): boolean =>
  channel.writeShared(Buffer.from(text), text.length);

test("EpollChannel.writeShared() sends what is short at the end of the turn, in order", () => {
  const { turn, writes, kernel } = open([3, 4], (channel) => void say(channel, "hello"));
  turn([5, 5]);
  assert.deepEqual(writes(), ["read 3", "read 4", "write 3 5", "write 4 5"]);
  assert.equal(kernel.written, "hellohello");
});

test("EpollChannel.writeShared() sends the first of two messages before the second", () => {
  const { turn, writes, kernel } = open([3], (channel) => {
    say(channel, "one");
    say(channel, "two and");
  });
  turn([3, 7]);
  assert.deepEqual(writes(), ["read 3", "write 3 3", "write 3 7"]);
  assert.equal(kernel.written, "onetwo and");
});

test("EpollChannel.writeShared() writes at once outside of a turn, and long messages", () => {
  const long = "x".repeat(5000);
  const { channels, turn, writes, kernel } = open([3], (channel) => void say(channel, long));
  kernel.answers["write"] = [2];
  const [channel] = channels;
  assert.ok(channel !== undefined);
  say(channel, "ab");
  assert.deepEqual(writes(), ["write 3 2"]);
  turn([5000]);
  assert.deepEqual(writes(), ["write 3 2", "read 3", "write 3 5000"]);
});

test("EpollChannel sends what was placed before it ends, is destroyed or is surrendered", () => {
  for (const leave of ["end", "destroy", "surrender"] as const) {
    const { turn, writes } = open([3], (channel) => {
      say(channel, "bye");
      if (leave === "surrender") channel.surrender({ destroy: () => {} });
      else channel[leave]();
    });
    turn([3]);
    assert.deepEqual(writes().slice(0, 2), ["read 3", "write 3 3"], leave);
  }
});

test("EpollChannel queues what the kernel did not take of a placed message", () => {
  for (const [taken, left] of [
    [2, 3],
    [-EAGAIN, 5],
  ] as const) {
    const { channels, turn, kernel } = open([3], (channel) => void say(channel, "hello"));
    turn([taken]);
    assert.equal(channels[0]?.queuedBytes, left);
    kernel.answers["write"] = [left];
    kernel.turn([{ fd: 3, events: 4, generation: 1 }]);
    assert.equal(kernel.written, "hello");
    assert.equal(channels[0]?.queuedBytes, 0);
  }
});

test("EpollChannel fails when a placed message cannot be sent, and sends nothing more", async () => {
  const { channels, turn, writes, closed } = open([3], (channel) => {
    say(channel, "one");
    say(channel, "two");
  });
  turn([-EPIPE]);
  assert.equal(channels[0]?.isClosed, true);
  assert.deepEqual(writes(), ["read 3", "write 3 3", "close 3"]);
  await Promise.resolve();
  assert.deepEqual(closed, ["3 EPIPE"]);
});

test("EpollChannel places nothing where a place would pass the watermark", () => {
  const { turn, writes } = open([3, 4], (channel) => void say(channel, "hello"), 1024);
  turn([5, 5]);
  assert.deepEqual(writes(), ["read 3", "write 3 5", "read 4", "write 4 5"]);
});

test("Outbox.take() sends everything when all places are taken", () => {
  const outbox = new Outbox(new ScriptedKernel().syscalls);
  const sent: number[] = [];
  const places = new Set(
    Array.from({ length: 33 }, (_, index) => {
      const sender: Sender = { sendPlaced: () => void sent.push(index) };
      return outbox.take(sender);
    }),
  );
  assert.equal(places.size, 32);
  assert.deepEqual(
    sent,
    Array.from({ length: 32 }, (_, index) => index),
  );
  outbox.sendAll();
  assert.equal(sent.at(-1), 32);
  outbox.sendAll();
  assert.equal(sent.length, 33);
});
