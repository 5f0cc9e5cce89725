/** What channels promise, on every backend: the same tests. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { afterEach, test } from "node:test";

import { silentLog } from "../../support/silent-log.ts";
import type { Channel } from "../../../src/net/channel.ts";
import { probeNative } from "../../../src/net/epoll/native/probe.ts";
import { decodeSockaddr, encodeSockaddr } from "../../../src/net/sysio/sockaddr.ts";
import { backends, closeLeftovers, hear } from "./backends.ts";

afterEach(closeLeftovers);

for (const backend of backends) {
  const { name, dialler, listen, dial } = backend;

  test(`${name}: bytes go both ways, and each direction stays open until it ends`, async () => {
    const server = hear();
    const accepted = Promise.withResolvers<Channel>();
    const listener = await listen({
      onChannel(channel) {
        channel.handler = server.handler;
        accepted.resolve(channel);
      },
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
    assert.deepEqual(client.calls, ["data", "end", "close"]);
    assert.deepEqual(server.calls, ["data", "end", "close"]);
    assert.ok(channel.isClosed && other.isClosed);
    await listener.close();
  });

  test(`${name}: accepted connections are asked by the kernel where the listener says so`, async () => {
    for (const keepAlive of [undefined, { idleSeconds: 100, intervalSeconds: 5, probes: 3 }]) {
      const accepted = Promise.withResolvers<Channel>();
      const listener = await listen({
        keepAlive,
        onChannel: (channel) => accepted.resolve(channel),
      });
      await dial(listener, hear());
      const { local, remote } = await accepted.promise;
      // Kernel timers of a socket: 2 is the one that asks.
      const isAsked = timerOf(local.port, remote.port) === "02";
      assert.equal(isAsked, keepAlive !== undefined);
      await listener.close();
    }
  });

  test(`${name}: a chunk is only there while its handler looks at it`, async () => {
    let kept: Buffer | undefined;
    const listener = await listen({
      onChannel(channel) {
        channel.handler = hear({
          onData(chunk) {
            kept = chunk;
            assert.equal(chunk.toString(), "secret");
            setImmediate(() => channel.destroy());
          },
        }).handler;
      },
    });
    const client = hear();
    const channel = await dial(listener, client);
    channel.write(Buffer.from("secret"));
    await client.ended;
    channel.destroy();
    assert.equal(kept?.toString(), "\0".repeat(6));
    await listener.close();
  });

  test(`${name}: connections beyond the limit are closed, and told`, async () => {
    const server = hear();
    let overflows = 0;
    const gone = Promise.withResolvers<void>();
    const listener = await listen({
      connectionsMax: 1,
      onChannel: (channel) => {
        channel.handler = { ...server.handler, onEnd: () => channel.end() };
      },
      onOverflow: () => (overflows += 1),
      onClosed: () => gone.resolve(),
    });
    const first = await dial(listener, hear());
    const second = hear();
    const refused = await dial(listener, second);
    await second.ended;
    refused.destroy();
    assert.equal(overflows, 1);
    first.destroy();
    await server.closed;
    await gone.promise;
    const third = await dial(listener, hear());
    third.destroy();
    await listener.close();
  });

  test(`${name}: a port in use is refused with one sentence`, async () => {
    const listener = await listen({ onChannel: () => {} });
    const again = listen({ on: { kind: "address", ...listener.address }, onChannel: () => {} });
    await assert.rejects(again, {
      code: "listen-failed",
      message: `cannot listen on 127.0.0.1:${listener.address.port}: another process uses the port (EADDRINUSE)`,
    });
    await listener.close();
  });

  test(`${name}: a closed listener refuses, and what it accepted goes on`, async () => {
    const server = hear();
    const accepted = Promise.withResolvers<Channel>();
    const listener = await listen({
      onChannel(channel) {
        channel.handler = server.handler;
        accepted.resolve(channel);
      },
    });
    const client = hear();
    const channel = await dial(listener, client);
    const other = await accepted.promise;
    await listener.close();
    await assert.rejects(dial(listener, hear()), /ECONNREFUSED/);
    channel.write(Buffer.from("still here"));
    await server.received(10);
    channel.destroy();
    await server.ended;
    other.destroy();
    const again = await listen({
      on: { kind: "address", ...listener.address },
      onChannel: () => {},
    });
    await again.close();
  });

  test(`${name}: IPv6 listeners leave the port's IPv4 side free`, async () => {
    const six = await listen({
      on: { kind: "address", address: "::", port: 0 },
      onChannel: (channel) => channel.destroy(),
    });
    const four = await listen({
      on: { kind: "address", address: "0.0.0.0", port: six.address.port },
      onChannel: (channel) => channel.destroy(),
    });
    const client = hear();
    await dial(six, client, { address: { address: "::1", port: six.address.port } });
    await client.ended;
    await Promise.all([six.close(), four.close()]);
  });

  test(`${name}: dial() reports refusal once and never during the call`, async () => {
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
    const error = await client.closed;
    assert.deepEqual(error, {
      code: "ECONNREFUSED",
      message: "connect ECONNREFUSED 127.0.0.1:1",
    });
    assert.ok(channel.isClosed);
    assert.deepEqual(client.calls, ["close"]);
  });

  test(`${name}: dial() gives up when the time is over`, async () => {
    const { port, close } = openDeafSocket();
    const address = { address: "127.0.0.1", port };
    const common = { address, tls: undefined, handler: hear().handler };
    const crowd = Array.from({ length: 4 }, () =>
      dialler.dial({ ...common, timeoutMs: 0, onConnect: () => {} }),
    );
    const client = hear();
    const onConnect = (): void => assert.fail("connected");
    dialler.dial({ ...common, timeoutMs: 50, handler: client.handler, onConnect });
    const message = `connecting to 127.0.0.1:${port} took over 50 ms`;
    assert.deepEqual(await client.closed, { code: "ETIMEDOUT", message });
    for (const one of crowd) one.destroy();
    close();
  });

  test(`${name}: destroying a dial that is under way tells of its end, once`, async () => {
    const listener = await listen({ onChannel: () => {} });
    const client = hear();
    const channel = dialler.dial({
      address: listener.address,
      tls: undefined,
      timeoutMs: 5_000,
      handler: client.handler,
      onConnect: () => assert.fail("connected"),
    });
    channel.destroy();
    channel.destroy();
    assert.equal(await client.closed, undefined);
    assert.deepEqual(client.calls, ["close"]);
    await listener.close();
  });

  test(`${name}: a source address is kept to`, async () => {
    const accepted = Promise.withResolvers<Channel>();
    const listener = await listen({ onChannel: accepted.resolve });
    const channel = await dial(listener, hear(), { sourceAddress: "127.0.0.7" });
    const { remote } = await accepted.promise;
    assert.equal(remote.address, "127.0.0.7");
    assert.deepEqual(channel.local, remote);
    channel.destroy();
    await listener.close();
  });

  test(`${name}: a connection closes alone when its handler throws`, async () => {
    const server = hear({
      onData: () => {
        throw new Error("our mistake");
      },
    });
    const listener = await listen({
      onChannel(channel) {
        channel.handler = server.handler;
      },
    });
    const client = hear();
    const bystander = await dial(listener, hear());
    const channel = await dial(listener, client);
    channel.write(Buffer.from("x"));
    assert.equal((await server.closed)?.code, "fault");
    await client.ended;
    assert.ok(!bystander.isClosed);
    bystander.destroy();
    channel.destroy();
    await listener.close();
  });

  test(`${name}: write() says false above the watermark and onDrain follows`, async () => {
    let reader: Channel | undefined;
    const listener = await listen({
      onChannel(channel) {
        channel.handler = hear().handler;
        channel.pause();
        reader = channel;
      },
    });
    const client = hear();
    const channel = await dial(listener, client);
    const block = Buffer.alloc(1 << 20);
    let blocks = 0;
    while (channel.write(block) || blocks < 8) blocks += 1;
    assert.ok(channel.queuedBytes > 0);
    reader?.resume();
    await client.drained;
    assert.equal(channel.queuedBytes, 0);
    channel.destroy();
    await client.closed;
    await listener.close();
  });

  test(`${name}: a writer that never listens is cut off`, async () => {
    const listener = await listen({
      onChannel: (channel) => channel.pause(),
    });
    const client = hear();
    const channel = await dial(listener, client);
    const block = Buffer.alloc(1 << 20);
    for (let i = 0; i < 80; i++) channel.write(block);
    assert.equal((await client.closed)?.code, "write-queue-full");
    assert.ok(channel.isClosed);
    await listener.close();
  });

  test(`${name}: pause() holds bytes and the end behind them until resume()`, async () => {
    const server = hear();
    const accepted = Promise.withResolvers<Channel>();
    const listener = await listen({
      onChannel(channel) {
        channel.handler = server.handler;
        channel.pause();
        accepted.resolve(channel);
      },
    });
    const channel = await dial(listener, hear());
    channel.write(Buffer.from("waits"));
    channel.end();
    const other = await accepted.promise;
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.deepEqual(server.calls, []);
    other.resume();
    await server.ended;
    assert.equal(server.text(), "waits");
    other.end();
    assert.equal(await server.closed, undefined);
    await listener.close();
  });

  test(`${name}: pausing within onData stops what follows`, async () => {
    const chunks: number[] = [];
    const accepted = Promise.withResolvers<Channel>();
    const server = hear({
      onData(chunk) {
        chunks.push(chunk.length);
        void accepted.promise.then((channel) => channel.pause());
      },
    });
    const listener = await listen({
      onChannel(channel) {
        channel.handler = hear({
          onData(chunk) {
            server.handler.onData(chunk);
            channel.pause();
          },
        }).handler;
        accepted.resolve(channel);
      },
    });
    const channel = await dial(listener, hear());
    channel.write(Buffer.alloc(1 << 20, "x"));
    const other = await accepted.promise;
    await server.received(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(chunks.length, 1);
    while (server.bytes().length < 1 << 20) {
      const before = server.bytes().length;
      other.resume();
      await server.received(before + 1);
    }
    channel.destroy();
    await listener.close();
  });

  test(`${name}: a reset is an error, an end is none`, async () => {
    const server = hear();
    const listener = await listen({
      onChannel(channel) {
        channel.handler = server.handler;
      },
    });
    const socket = connect(listener.address.port, "127.0.0.1");
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.write("x");
    await server.received(1);
    socket.resetAndDestroy();
    assert.deepEqual(await server.closed, { code: "ECONNRESET", message: "read ECONNRESET" });
    assert.deepEqual(server.calls, ["data", "close"]);
    await listener.close();
  });

  test(`${name}: destroy("reset") breaks the connection for the peer`, async () => {
    const server = hear();
    const listener = await listen({
      onChannel(channel) {
        channel.handler = server.handler;
      },
    });
    const client = hear();
    const channel = await dial(listener, client);
    channel.write(Buffer.from("x"));
    await server.received(1);
    channel.destroy("reset");
    assert.equal((await server.closed)?.code, "ECONNRESET");
    assert.equal(await client.closed, undefined);
    await listener.close();
  });

  test(`${name}: writing to a peer that is gone ends in an error, told later`, async () => {
    const listener = await listen({ onChannel: (channel) => channel.destroy() });
    const client = hear();
    const channel = await dial(listener, client);
    await client.ended;
    const timer = setInterval(() => {
      if (!channel.isClosed) channel.write(Buffer.from("anybody there?"));
    }, 1);
    const error = await client.closed;
    clearInterval(timer);
    assert.match(error?.code ?? "", /^(EPIPE|ECONNRESET)$/);
    assert.deepEqual(client.calls, ["end", "close"]);
    await listener.close();
  });

  test(`${name}: destroy() loses what is queued, end() sends it`, async () => {
    const bytes = Buffer.alloc(4 << 20, "y");
    const servers = [hear(), hear()];
    let next = 0;
    const listener = await listen({
      onChannel(channel) {
        channel.handler = servers[next++]?.handler ?? hear().handler;
      },
    });
    const first = await dial(listener, hear());
    first.write(bytes);
    first.end();
    await servers[0]?.ended;
    assert.equal(servers[0]?.bytes().length, bytes.length);
    const second = await dial(listener, hear());
    second.write(bytes);
    second.destroy();
    assert.equal(second.write(bytes), true);
    await Promise.race([servers[1]?.ended, servers[1]?.closed]);
    assert.ok((servers[1]?.bytes().length ?? 0) < bytes.length);
    first.destroy();
    await listener.close();
  });

  test(`${name}: the handler may change between chunks, and hears only its own`, async () => {
    const later = hear();
    const listener = await listen({
      onChannel(channel) {
        channel.handler = hear({
          onData: () => {
            channel.handler = later.handler;
            channel.write(Buffer.from("go on"));
          },
        }).handler;
      },
    });
    const client = hear();
    const channel = await dial(listener, client);
    channel.write(Buffer.from("one"));
    await client.received(5);
    channel.write(Buffer.from("two"));
    await later.received(3);
    assert.equal(later.text(), "two");
    channel.destroy();
    await listener.close();
  });

  test(`${name}: a client that is gone before it is accepted does no harm`, async () => {
    const listener = await listen({
      onChannel(channel) {
        channel.handler = hear().handler;
      },
      log: silentLog,
    });
    for (let i = 0; i < 50; i++) {
      const socket = connect(listener.address.port, "127.0.0.1");
      await new Promise((resolve) => socket.once("connect", resolve));
      socket.resetAndDestroy();
    }
    const channel = await dial(listener, hear());
    channel.destroy();
    await listener.close();
  });
}

/** Listens and accepts nobody: when its queue is full, who connects waits. */
function openDeafSocket(): { readonly port: number; readonly close: () => void } {
  const probe = probeNative();
  assert.ok(probe.kind === "present");
  const { syscalls } = probe.native;
  const fd = syscalls.socket(2, 1);
  assert.equal(syscalls.bind(fd, encodeSockaddr({ address: "127.0.0.1", port: 0 })), 0);
  assert.equal(syscalls.listen(fd, 1), 0);
  const block = syscalls.allocate(32);
  assert.equal(syscalls.localAddress(fd, block), 0);
  return { port: decodeSockaddr(block.bytes)?.port ?? 0, close: () => void syscalls.close(fd) };
}

/** Of an IPv4 socket, by its ports. */
function timerOf(local: number, remote: number): string | undefined {
  const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, "0");
  const line = readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .find((one) => new RegExp(`^ *\\d+: \\w+:${hex(local)} \\w+:${hex(remote)} `).test(one));
  return /^ *\d+: \S+ \S+ \S+ \S+ (\d\d):/.exec(line ?? "")?.[1];
}
