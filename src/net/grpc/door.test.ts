import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import tls from "node:tls";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { makeTestAuthority } from "../../../test/support/test-certificates.ts";
import { systemClock } from "../../base/clock.ts";
import { grpcStatus } from "../../wire/grpc.ts";
import { openGrpcChannel } from "../grpc-client.ts";
import {
  type GrpcHandshakeFailure,
  type GrpcMethod,
  type GrpcServer,
  type GrpcServerOptions,
  startGrpcServer,
} from "../grpc-server.ts";
import { defaultGrpcKeepalive, GrpcError } from "../grpc.ts";

/** Knows whoever says so. */
const knowing: GrpcMethod = {
  kind: "unary",
  path: "/test.Door/Knock",
  handle: (_request, call) => {
    if (call.metadata("authorization") !== "ann") {
      return Promise.reject(new GrpcError(grpcStatus.unauthenticated, "who are you"));
    }
    call.markAuthenticated();
    return Promise.resolve(Buffer.from("come in"));
  },
};

interface Served {
  readonly server: GrpcServer;
  readonly port: number;
  readonly clock: FakeClock;
  /** `limit address:port` each. */
  readonly limits: readonly string[];
}

async function withServer(
  options: Partial<GrpcServerOptions>,
  run: (served: Served) => Promise<void>,
): Promise<void> {
  const clock = new FakeClock();
  const limits: string[] = [];
  const server = await startGrpcServer({
    listen: { address: "127.0.0.1", port: 0 },
    methods: [knowing],
    keepalive: { ...defaultGrpcKeepalive, intervalMs: 3_600_000 },
    clock,
    log: silentLog,
    onLimit: (limit, peer) => void limits.push(`${limit} ${peer}`),
    ...options,
  });
  assert.ok("port" in server.address);
  try {
    await run({ server, port: server.address.port, clock, limits });
  } finally {
    await server.close();
  }
}

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

test("startGrpcServer() takes so many connections of one address, and more when some are gone", async () => {
  await withServer(
    { limits: { connectionsPerAddressMax: 2 } },
    async ({ port, limits, server }) => {
      // The first bytes of a server are its settings: who gets them has been taken in.
      const taken = [await dial(port), await dial(port)];
      await Promise.all(taken.map((socket) => once(socket, "data")));
      const third = await dial(port);
      const refused = `connections-per-address 127.0.0.1:${third.localPort}`;
      await once(third.resume(), "close");
      assert.deepEqual(limits, [refused]);
      assert.equal(server.connections, 2);
      taken[0]?.destroy();
      while (server.connections === 2) await new Promise((resolve) => setImmediate(resolve));
      const fourth = await dial(port);
      await once(fourth, "data");
      assert.equal(limits.length, 1);
      for (const socket of [...taken, fourth]) socket.destroy();
    },
  );
});

test("startGrpcServer() closes a connection without an authenticated call, whatever it says", async () => {
  await withServer({ limits: { unauthenticatedMs: 10_000 } }, async ({ port, limits, clock }) => {
    const silent = await dial(port);
    const silentPort = silent.localPort;
    await once(silent, "data");
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const sessionPort = await new Promise<number | undefined>((resolve) =>
      session.once("connect", (_session, socket: Socket) => resolve(socket.localPort)),
    );
    // A call that never ends: it would keep the connection from being idle.
    const call = session.request({
      ":method": "POST",
      ":path": knowing.path,
      "content-type": "application/grpc",
    });
    call.on("error", () => {});
    await once(call, "response");
    clock.advance(9_999);
    assert.deepEqual(limits, []);
    clock.advance(1);
    await Promise.all([once(silent, "close"), once(session, "close")]);
    const expected = [silentPort, sessionPort].map((from) => `unauthenticated 127.0.0.1:${from}`);
    assert.deepEqual(new Set(limits), new Set(expected));
  });
});

test("startGrpcServer() keeps a connection that had an authenticated call", async () => {
  await withServer({ limits: { unauthenticatedMs: 10_000 } }, async ({ port, limits, clock }) => {
    const channel = openGrpcChannel({
      target: { address: "127.0.0.1", port },
      keepalive: defaultGrpcKeepalive,
      clock: systemClock,
    });
    const knock = async (authorization: string): Promise<string> => {
      const metadata = { authorization };
      const answer = await channel.unary(knowing.path, Buffer.of(), { metadata, timeoutMs: 5000 });
      return Buffer.from(answer).toString();
    };
    try {
      await assert.rejects(knock("bob"), { code: grpcStatus.unauthenticated });
      assert.equal(await knock("ann"), "come in");
      clock.advance(30_000);
      assert.equal(await knock("ann"), "come in");
      assert.deepEqual(limits, []);
    } finally {
      channel.close();
    }
  });
});

test("startGrpcServer() tells of a failed handshake who asked for whom, also when he is gone", async () => {
  const authority = await makeTestAuthority();
  const { chainPem: chain, privateKeyPem: key } = await authority.issue({ dnsNames: ["control"] });
  const failures: GrpcHandshakeFailure[] = [];
  let wake = (): void => {};
  const options: Partial<GrpcServerOptions> = {
    tls: { key, chain },
    limits: { handshakeTimeoutMs: 200 },
    onHandshakeFailure: (failure) => {
      failures.push(failure);
      wake();
    },
  };
  await withServer(options, async ({ port }) => {
    const failed = async (socket: Socket): Promise<GrpcHandshakeFailure & { from: string }> => {
      const told = new Promise<void>((resolve) => (wake = resolve));
      socket.on("error", () => {});
      await once(socket, "connect");
      const from = `127.0.0.1:${socket.localPort}`;
      await told;
      socket.destroy();
      const failure = failures.pop();
      assert.ok(failure !== undefined);
      return { ...failure, from };
    };
    // It does not trust the server.
    const wary = { port, host: "127.0.0.1", servername: "wanted.example", ALPNProtocols: ["h2"] };
    const distrust = await failed(tls.connect(wary));
    assert.deepEqual([distrust.peer, distrust.sni], [distrust.from, "wanted.example"]);
    const other = { ...wary, ALPNProtocols: ["http/1.1"], ca: authority.rootPem };
    const protocol = await failed(tls.connect(other));
    assert.deepEqual([protocol.peer, protocol.sni], [protocol.from, "wanted.example"]);
    assert.match(protocol.reason, /application protocol/);
    const half = connect(port, "127.0.0.1");
    half.write(Buffer.from([22, 3, 1, 2, 0, 1]));
    const late = await failed(half);
    assert.deepEqual([late.peer, late.sni], [late.from, undefined]);
    assert.match(late.reason, /timeout/i);
  });
});
