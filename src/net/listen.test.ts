import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

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

/** Closed after the test with what it accepted, also after one that failed. */
async function listenHere(
  t: TestContext,
  onChannel: (channel: Channel) => void,
  connectionsMax = 10,
): Promise<BoundListener> {
  const listener = await listen({
    on: { kind: "address", address: "127.0.0.1", port: 0 },
    connectionsMax,
    readsOriginalDestination: true,
    log: silentLog,
    onChannel: (channel) => {
      t.after(() => channel.destroy());
      onChannel(channel);
    },
    onOverflow: () => {},
  });
  t.after(() => listener.close());
  return listener;
}

function dial(t: TestContext, listener: BoundListener, heard: Heard): Promise<Channel> {
  return new Promise((resolve) => {
    const channel = dialler.dial({
      address: listener.address,
      tls: undefined,
      timeoutMs: 5_000,
      handler: heard.handler,
      onConnect: resolve,
    });
    t.after(() => channel.destroy());
  });
}

test("listen() carries bytes both ways and keeps each direction open until it ends", async (t) => {
  const server = hear();
  const accepted = Promise.withResolvers<Channel>();
  const listener = await listenHere(t, (channel) => {
    channel.handler = server.handler;
    accepted.resolve(channel);
  });
  const client = hear();
  const channel = await dial(t, listener, client);
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
});

test("a channel's chunk is only there while its handler looks at it", async (t) => {
  let kept: Buffer | undefined;
  const listener = await listenHere(t, (channel) => {
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
  const channel = await dial(t, listener, client);
  channel.write(Buffer.from("secret"));
  await client.ended;
  channel.destroy();
  assert.equal(kept?.toString(), "\0".repeat(6));
});

test("listen() closes connections beyond its limit", async (t) => {
  const server = hear();
  const listener = await listenHere(
    t,
    (channel) => {
      channel.handler = { ...server.handler, onEnd: () => channel.end() };
    },
    1,
  );
  const first = await dial(t, listener, hear());
  const second = hear();
  const refused = await dial(t, listener, second);
  await second.ended;
  refused.destroy();
  first.destroy();
  await server.closed;
});

test("listen() refuses a port in use with one sentence", async (t) => {
  const listener = await listenHere(t, () => {});
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
});

test("dial() reports refusal once and never during the call", async (t) => {
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
  t.after(() => channel.destroy());
  isReturned = true;
  assert.throws(() => channel.write(Buffer.from("early")), /before onConnect/);
  await failed;
  assert.equal((await client.closed)?.code, "ECONNREFUSED");
  assert.ok(channel.isClosed);
});

test("Channel closes alone when its handler throws", async (t) => {
  const listener = await listenHere(t, (channel) => {
    channel.handler = hear(() => {
      throw new Error("our mistake");
    }).handler;
  });
  const client = hear();
  const channel = await dial(t, listener, client);
  channel.write(Buffer.from("x"));
  await client.ended;
  channel.destroy();
});

test("write() says false above the watermark and onDrain follows", async (t) => {
  let reader: Channel | undefined;
  const listener = await listenHere(t, (channel) => {
    channel.handler = hear().handler;
    channel.pause();
    reader = channel;
  });
  const drained = Promise.withResolvers<void>();
  const client = hear();
  const channel = await dial(t, listener, client);
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
});
