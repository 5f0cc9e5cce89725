/**
 * What a backend must survive: input in pieces of one byte, a garbage collector that runs all the
 * time, thousands of connections that come and go. Run with a V8 that lets itself be asked to collect.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { afterEach, test } from "node:test";
import v8 from "node:v8";
import vm from "node:vm";

import type { Channel } from "../../../src/net/channel.ts";
import type { BoundListener } from "../../../src/net/listen.ts";
import { type Backend, backends, closeLeftovers, hear } from "./backends.ts";

v8.setFlagsFromString("--expose-gc");
const collect: unknown = vm.runInNewContext("gc");
assert.ok(typeof collect === "function");

afterEach(closeLeftovers);

for (const backend of backends) {
  const { name, listen, dial } = backend;

  test(`${name}: input split at every byte arrives as it was sent`, async () => {
    const text = "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for (let at = 1; at < text.length; at++) {
      const server = hear();
      const listener = await listen({
        onChannel(channel) {
          channel.handler = server.handler;
        },
      });
      const socket = await connected(listener);
      socket.write(text.slice(0, at));
      await server.received(at);
      socket.end(text.slice(at));
      await server.ended;
      assert.equal(server.text(), text, `split at ${at}`);
      closeLeftovers();
      socket.destroy();
      await listener.close();
    }
  });

  test(`${name}: single bytes both ways keep their order`, async () => {
    const listener = await echoing(backend);
    const client = hear();
    const channel = await dial(listener, client);
    const sent = randomBytes(2000);
    for (const [index, byte] of sent.entries()) {
      channel.write(Buffer.from([byte]));
      if (index % 16 === 0) await client.received(index + 1);
    }
    await client.received(sent.length);
    assert.deepEqual(client.bytes(), sent);
    channel.destroy();
    await listener.close();
  });

  test(`${name}: bytes are right while memory is collected and back-pressure comes and goes`, async () => {
    const listener = await echoing(backend);
    const collecting = setInterval(() => Reflect.apply(collect, undefined, []), 1);
    try {
      const digests = Array.from({ length: 8 }, (_, index) => pump(backend, listener, index));
      for (const { sent, received } of await Promise.all(digests)) assert.equal(received, sent);
    } finally {
      clearInterval(collecting);
      await listener.close();
    }
  });

  test(`${name}: corked chunks of all sizes arrive in order`, async () => {
    const listener = await echoing(backend);
    const client = hear();
    const channel = await dial(listener, client);
    const sizes = [1, 3, 16_384, 16_385, 70_000, 0, 5, 200_000, 64, 64, 65_536, 2];
    const chunks = [...sizes, ...Array.from({ length: 150 }, () => 700)].map((size, index) =>
      Buffer.alloc(size, index + 1),
    );
    channel.cork();
    for (const chunk of chunks) channel.write(chunk);
    assert.equal(
      channel.queuedBytes,
      chunks.reduce((sum, { length }) => sum + length, 0),
    );
    channel.uncork();
    const whole = Buffer.concat(chunks);
    await client.received(whole.length);
    assert.ok(client.bytes().equals(whole));
    channel.destroy();
    await listener.close();
  });

  test(`${name}: 10,000 connections opened and closed leave no descriptor`, async () => {
    const listener = await listen({
      connectionsMax: 1000,
      onChannel(channel) {
        channel.handler = {
          onData: (chunk) => void channel.write(Buffer.from(chunk)),
          onEnd: () => channel.end(),
          onDrain: () => {},
          onClose: () => {},
        };
      },
    });
    await come(backend, listener, 100);
    closeLeftovers();
    const before = readdirSync("/proc/self/fd").length;
    for (let round = 0; round < 100; round++) {
      await come(backend, listener, 100);
      closeLeftovers();
    }
    await settled(before);
    await listener.close();
  });
}

/** So many connections at once, ended in every way there is. */
async function come(backend: Backend, listener: BoundListener, count: number): Promise<void> {
  const visits = Array.from({ length: count }, async (_, index) => {
    const client = hear();
    const channel = await backend.dial(listener, client);
    channel.write(Buffer.from("hello"));
    if (index % 4 === 0) channel.destroy();
    if (index % 4 === 1) channel.destroy("reset");
    if (index % 4 === 2) {
      await client.received(5);
      channel.destroy();
    }
    if (index % 4 === 3) channel.end();
    await client.closed;
  });
  await Promise.all(visits);
}

async function settled(descriptors: number): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const now = readdirSync("/proc/self/fd").length;
    if (now <= descriptors) return;
    assert.ok(performance.now() < deadline, `${now} descriptors are open, ${descriptors} before`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function echoing({ listen }: Backend): Promise<BoundListener> {
  return listen({
    onChannel(channel) {
      channel.handler = {
        onData(chunk) {
          if (!channel.write(Buffer.from(chunk))) channel.pause();
        },
        onEnd: () => channel.end(),
        onDrain: () => channel.resume(),
        onClose: () => {},
      };
    },
  });
}

/** 8 MiB of chunks of many sizes, there and back, hashed on both sides. */
async function pump(
  { dial }: Backend,
  listener: BoundListener,
  seed: number,
): Promise<{ readonly sent: string; readonly received: string }> {
  const total = 8 << 20;
  const sent = createHash("sha256");
  const received = createHash("sha256");
  const done = Promise.withResolvers<void>();
  let writtenBytes = 0;
  let readBytes = 0;
  let chunks = seed;
  const writeMore = (channel: Channel): void => {
    while (writtenBytes < total) {
      chunks += 1;
      const size = Math.min(
        [64, 1500, 16_000, 40_000, 100_000][chunks % 5] ?? 1,
        total - writtenBytes,
      );
      // Fresh memory for each: what the channel keeps is all that keeps it.
      const chunk = Buffer.from(new Uint8Array(size).fill(chunks));
      sent.update(chunk);
      writtenBytes += size;
      if (!channel.write(chunk)) return;
    }
  };
  const heard = hear();
  const channel = await dial(listener, {
    ...heard,
    handler: {
      onData(chunk) {
        received.update(chunk);
        readBytes += chunk.length;
        if (readBytes === total) done.resolve();
      },
      onEnd: () => {},
      onDrain: () => writeMore(channel),
      onClose: () => done.resolve(),
    },
  });
  writeMore(channel);
  await done.promise;
  channel.destroy();
  return { sent: sent.digest("hex"), received: received.digest("hex") };
}

function connected({ address }: BoundListener): Promise<Socket> {
  const socket = connect(address.port, address.address);
  socket.setNoDelay(true);
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve(socket));
    socket.once("error", reject);
  });
}
