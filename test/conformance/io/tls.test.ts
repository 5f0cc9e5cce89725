/** TLS between every pair of backends: bytes under load and collection, and what is left of it after. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { connect, createServer } from "node:net";
import { afterEach, test } from "node:test";
import v8 from "node:v8";
import vm from "node:vm";

import { FakeSecrets } from "../../support/secrets.ts";
import { silentLog } from "../../support/silent-log.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { systemClock } from "../../../src/base/clock.ts";
import type { Channel } from "../../../src/net/channel.ts";
import type { BoundListener } from "../../../src/net/listen.ts";
import { startServerHandshake } from "../../../src/net/server-handshake.ts";
import { createClientTls, createServerTls } from "../../../src/net/tls-contexts.ts";
import {
  DownstreamTlsContext,
  UpstreamTlsContext,
} from "../../../src/wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { type Backend, backends, closeLeftovers, hear } from "./backends.ts";

v8.setFlagsFromString("--expose-gc");
const collect: unknown = vm.runInNewContext("gc");
assert.ok(typeof collect === "function");

afterEach(closeLeftovers);

const authority = await makeTestAuthority();
const uris = ["spiffe://cluster.local/ns/default/sa/cart"];
const secrets = new FakeSecrets();
secrets.set("default", { kind: "certificate", ...(await authority.issue({ uris })) });
secrets.set("ROOTCA", { kind: "validation", trustedCaPem: authority.rootPem });
const counters = { onHandshake: () => {}, onFailure: () => {} };
const commonTlsContext = {
  alpnProtocols: ["istio"],
  tlsCertificateSdsSecretConfigs: [{ name: "default" }],
  validationContextSdsSecretConfig: { name: "ROOTCA" },
};
const dependencies = { secrets, log: silentLog, counters };
const serverTls = createServerTls(
  DownstreamTlsContext.fromPartial({ requireClientCertificate: true, commonTlsContext }),
  dependencies,
);
const clientTls = createClientTls(
  UpstreamTlsContext.fromPartial({ sni: "catalog", commonTlsContext }),
  dependencies,
);

for (const server of backends) {
  for (const client of backends) {
    test(`${client.name} → ${server.name}: bytes are right while memory is collected`, async () => {
      const listener = await echoing(server);
      const collecting = setInterval(() => Reflect.apply(collect, undefined, []), 2);
      try {
        const pumps = Array.from({ length: 6 }, (_, seed) => pump(client, listener, seed));
        for (const { sent, received } of await Promise.all(pumps)) assert.equal(received, sent);
      } finally {
        clearInterval(collecting);
        await listener.close();
      }
    });
  }

  test(`${server.name}: handshakes in pieces of one byte`, async (t) => {
    const listener = await echoing(server);
    const splitter = await splitting(listener);
    // Also when it fails: a process with an open server never ends.
    t.after(async () => {
      splitter.close();
      await listener.close();
    });
    const heard = hear();
    const address = { address: "127.0.0.1", port: splitter.port };
    const channel = await server.dial(listener, heard, { tls: clientTls, address });
    channel.write(Buffer.from("hello"));
    await heard.received(5);
    assert.equal(heard.text(), "hello");
    assert.equal(channel.tls?.alpn, "istio");
    channel.destroy();
  });

  test(`${server.name}: 600 handshakes, broken off in every way, leave no descriptor`, async () => {
    const listener = await echoing(server);
    const visit = async (index: number): Promise<void> => {
      const heard = hear();
      if (index % 5 === 0) {
        // Given up before, during or after the handshake.
        const address = listener.address;
        const channel = server.dialler.dial({
          address,
          tls: clientTls,
          timeoutMs: 60_000,
          handler: heard.handler,
          onConnect: () => {},
        });
        setTimeout(() => channel.destroy(), index % 7);
        await heard.closed;
        return;
      }
      const channel = await server.dial(listener, heard, { tls: clientTls });
      channel.write(Buffer.from("hello"));
      if (index % 5 > 2) await heard.received(5);
      if (index % 5 === 1) channel.end();
      else channel.destroy(index % 5 === 2 ? "reset" : undefined);
      await heard.closed;
    };
    const visits = async (count: number): Promise<void> => {
      await Promise.all(Array.from({ length: count }, (_, index) => visit(index)));
    };
    await visits(30);
    closeLeftovers();
    const before = readdirSync("/proc/self/fd").length;
    for (let round = 0; round < 20; round++) {
      await visits(30);
      closeLeftovers();
    }
    const deadline = performance.now() + 30_000;
    while (readdirSync("/proc/self/fd").length > before) {
      assert.ok(performance.now() < deadline, "descriptors are left open");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await listener.close();
  });
}

/** Reads something first, as listener filters do, then shakes hands and sends everything back. */
function echoing({ listen }: Backend): Promise<BoundListener> {
  return listen({
    connectionsMax: 1000,
    onChannel(channel) {
      const idle = { onEnd: () => channel.destroy(), onDrain: () => {}, onClose: () => {} };
      channel.handler = {
        ...idle,
        onData(chunk) {
          startServerHandshake({
            channel,
            tls: serverTls,
            first: Buffer.from(chunk),
            offeredAlpn: ["istio"],
            timeoutMs: 60_000,
            clock: systemClock,
            log: silentLog,
            onSecure: echo,
            onFailure: () => {},
          });
        },
      };
    },
  });
}

/** Passes what clients send on byte by byte, each in a packet of its own. */
async function splitting({
  address,
}: BoundListener): Promise<{ readonly port: number; readonly close: () => void }> {
  const server = createServer((client) => {
    const upstream = connect(address.port, address.address);
    upstream.setNoDelay(true);
    upstream.pipe(client);
    const queue: number[] = [];
    client.on("data", (chunk: Buffer) => queue.push(...chunk));
    const timer = setInterval(() => {
      const next = queue.shift();
      if (next !== undefined) upstream.write(Buffer.from([next]));
    }, 0);
    for (const socket of [client, upstream]) {
      socket.on("error", () => {});
      socket.on("close", () => {
        clearInterval(timer);
        client.destroy();
        upstream.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const bound = server.address();
  assert.ok(bound !== null && typeof bound === "object");
  return { port: bound.port, close: () => void server.close() };
}

function echo(channel: Channel): void {
  channel.handler = {
    onData(chunk) {
      if (!channel.write(Buffer.from(chunk))) channel.pause();
    },
    onEnd: () => channel.end(),
    onDrain: () => channel.resume(),
    onClose: () => {},
  };
}

/** 4 MiB of chunks of many sizes, there and back, hashed on both sides. */
async function pump(client: Backend, listener: BoundListener, seed: number) {
  const total = 4 << 20;
  const sent = createHash("sha256");
  const received = createHash("sha256");
  const done = Promise.withResolvers<void>();
  let writtenBytes = 0;
  let readBytes = 0;
  let chunks = seed;
  const writeMore = (channel: Channel): void => {
    while (writtenBytes < total) {
      chunks += 1;
      const wanted = [64, 1500, 16_384, 40_000, 100_000][chunks % 5] ?? 1;
      const chunk = Buffer.from(
        new Uint8Array(Math.min(wanted, total - writtenBytes)).fill(chunks),
      );
      sent.update(chunk);
      writtenBytes += chunk.length;
      if (!channel.write(chunk)) return;
    }
  };
  const heard = hear({
    onData(chunk) {
      received.update(chunk);
      readBytes += chunk.length;
      if (readBytes === total) done.resolve();
    },
    onDrain: () => writeMore(channel),
    onClose: () => done.resolve(),
  });
  const channel = await client.dial(listener, heard, { tls: clientTls });
  writeMore(channel);
  await done.promise;
  channel.destroy();
  return { sent: sent.digest("hex"), received: received.digest("hex") };
}
