import assert from "node:assert/strict";
import { test } from "node:test";

import { silentLog } from "../../test/support/silent-log.ts";
import { systemClock } from "../base/clock.ts";
import type { Channel, ChannelError, ChannelHandler } from "./channel.ts";
import { type BoundListener, listen } from "./listen.ts";
import { createPortableDialler } from "./portable-dialler.ts";

const dialler = createPortableDialler({ clock: systemClock, log: silentLog });

interface Heard {
  readonly handler: ChannelHandler;
  readonly closed: Promise<ChannelError | undefined>;
  readonly ended: Promise<void>;
  text(): string;
}

function hear(onData: (chunk: Buffer) => void = () => {}): Heard {
  const chunks: Buffer[] = [];
  const closed = Promise.withResolvers<ChannelError | undefined>();
  const ended = Promise.withResolvers<void>();
  return {
    closed: closed.promise,
    ended: ended.promise,
    text: () => Buffer.concat(chunks).toString(),
    handler: {
      onData(chunk) {
        chunks.push(Buffer.from(chunk));
        onData(chunk);
      },
      onEnd: ended.resolve,
      onDrain: () => {},
      onClose: closed.resolve,
    },
  };
}

function listenHere(onChannel: (channel: Channel) => void, connectionsMax = 10) {
  return listen({
    on: { kind: "address", address: "127.0.0.1", port: 0 },
    connectionsMax,
    readsOriginalDestination: true,
    log: silentLog,
    onChannel,
    onOverflow: () => {},
  });
}

function dial(listener: BoundListener, heard: Heard): Promise<Channel> {
  return new Promise((resolve) => {
    dialler.dial({
      address: listener.address,
      tls: undefined,
      timeoutMs: 5_000,
      handler: heard.handler,
      onConnect: resolve,
    });
  });
}

test("listen() carries bytes both ways and keeps each direction open until it ends", async () => {
  const server = hear();
  const accepted = Promise.withResolvers<Channel>();
  const listener = await listenHere((channel) => {
    channel.handler = server.handler;
    accepted.resolve(channel);
  });
  const client = hear();
  const channel = await dial(listener, client);
  channel.cork();
  channel.write(Buffer.from("hel"));
  channel.write(Buffer.from("lo"));
  channel.uncork();
  channel.end();
  await server.ended;
  assert.equal(server.text(), "hello");
  const other = await accepted.promise;
  assert.deepEqual(other.originalDestination, listener.address);
  assert.deepEqual(channel.local, other.remote);
  other.write(Buffer.from("after your end"));
  other.end();
  assert.equal(await client.closed, undefined);
  assert.equal(client.text(), "after your end");
  assert.equal(await server.closed, undefined);
  await listener.close();
});

test("a channel's chunk is only there while its handler looks at it", async () => {
  let kept: Buffer | undefined;
  const listener = await listenHere((channel) => {
    channel.handler = {
      ...hear().handler,
      onData: (chunk) => {
        kept = chunk;
        assert.equal(chunk.toString(), "secret");
        setImmediate(() => channel.destroy());
      },
    };
  });
  const client = hear();
  const channel = await dial(listener, client);
  channel.write(Buffer.from("secret"));
  await client.ended;
  channel.destroy();
  assert.equal(kept?.toString(), "\0".repeat(6));
  await listener.close();
});

test("listen() closes connections beyond its limit", async () => {
  const server = hear();
  const listener = await listenHere((channel) => {
    channel.handler = { ...server.handler, onEnd: () => channel.end() };
  }, 1);
  const first = await dial(listener, hear());
  const second = hear();
  const refused = await dial(listener, second);
  await second.ended;
  refused.destroy();
  first.destroy();
  await server.closed;
  await listener.close();
});

test("listen() refuses a port in use with one sentence", async () => {
  const listener = await listenHere(() => {});
  const again = listen({
    on: { kind: "address", ...listener.address },
    connectionsMax: 1,
    readsOriginalDestination: false,
    log: silentLog,
    onChannel: () => {},
  });
  await assert.rejects(again, {
    code: "listen-failed",
    message: `cannot listen on 127.0.0.1:${listener.address.port}: another process uses the port (EADDRINUSE)`,
  });
  await listener.close();
});

test("dial() reports refusal once and never during the call", async () => {
  const client = hear();
  let isReturned = false;
  const failed = client.closed.then(() => assert.ok(isReturned));
  const channel = dialler.dial({
    // Not a port that was free a moment ago: somebody else might listen there by now.
    address: { address: "127.0.0.1", port: 1 },
    tls: undefined,
    timeoutMs: 5_000,
    handler: client.handler,
    onConnect: () => assert.fail("connected"),
  });
  isReturned = true;
  assert.throws(() => channel.write(Buffer.from("early")), /before onConnect/);
  await failed;
  assert.equal((await client.closed)?.code, "ECONNREFUSED");
  assert.ok(channel.isClosed);
});

test("Channel closes alone when its handler throws", async () => {
  const listener = await listenHere((channel) => {
    channel.handler = hear(() => {
      throw new Error("our mistake");
    }).handler;
  });
  const client = hear();
  const channel = await dial(listener, client);
  channel.write(Buffer.from("x"));
  await client.ended;
  channel.destroy();
  await listener.close();
});

test("write() says false above the watermark and onDrain follows", async () => {
  let reader: Channel | undefined;
  const listener = await listenHere((channel) => {
    channel.handler = hear().handler;
    channel.pause();
    reader = channel;
  });
  const drained = Promise.withResolvers<void>();
  const client = hear();
  const channel = await dial(listener, client);
  channel.handler = { ...client.handler, onDrain: drained.resolve };
  const block = Buffer.alloc(1 << 20);
  let blocks = 0;
  while (channel.write(block) || blocks < 8) blocks += 1;
  assert.ok(channel.queuedBytes > 0);
  reader?.resume();
  await drained.promise;
  assert.equal(channel.queuedBytes, 0);
  channel.destroy();
  await client.closed;
  await listener.close();
});
