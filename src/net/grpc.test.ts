import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { systemClock } from "../base/clock.ts";
import { grpcStatus } from "../wire/grpc.ts";
import { type GrpcChannel, type GrpcClientHandler, openGrpcChannel } from "./grpc-client.ts";
import { type GrpcMethod, type GrpcServerLimits, startGrpcServer } from "./grpc-server.ts";
import { defaultGrpcKeepalive, GrpcError } from "./grpc.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

interface Pair {
  readonly channel: GrpcChannel;
  readonly limits: string[];
  readonly clock: FakeClock;
}

async function withPair(
  methods: readonly GrpcMethod[],
  run: (pair: Pair) => Promise<void>,
  limits: Partial<GrpcServerLimits> = {},
): Promise<void> {
  const reached: string[] = [];
  const clock = new FakeClock();
  const server = await startGrpcServer({
    listen: { address: "127.0.0.1", port: 0 },
    methods,
    limits,
    keepalive: defaultGrpcKeepalive,
    clock,
    log: silentLog,
    onLimit: (limit) => reached.push(limit),
  });
  const channel = openGrpcChannel({
    target: server.address,
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  try {
    await run({ channel, limits: reached, clock });
  } finally {
    channel.close();
    await server.close();
  }
}

const echo: GrpcMethod = {
  kind: "unary",
  path: "/test.Echo/Say",
  handle: (request, call) =>
    Promise.resolve(Buffer.from(`${text(request)} ${call.metadata("x-name") ?? ""}`)),
};

/** Collects one stream; `closed` resolves with its error. */
function listen(): GrpcClientHandler & {
  readonly messages: string[];
  readonly closed: Promise<GrpcError | undefined>;
  message(): Promise<string>;
} {
  const { promise, resolve } = Promise.withResolvers<GrpcError | undefined>();
  const messages: string[] = [];
  let wake: (() => void) | undefined;
  return {
    messages,
    closed: promise,
    onMessage: (message) => {
      messages.push(text(message));
      wake?.();
    },
    onClose: resolve,
    message: async () => {
      if (messages.length === 0) await new Promise<void>((done) => (wake = done));
      return messages.shift() ?? "";
    },
  };
}

test("unary() gives the answer and carries metadata", async () => {
  await withPair([echo], async ({ channel }) => {
    const answer = await channel.unary("/test.Echo/Say", Buffer.from("hello"), {
      metadata: { "x-name": "ann" },
      timeoutMs: 5000,
    });
    assert.equal(text(answer), "hello ann");
  });
});

test("unary() rejects with the server's status and message", async () => {
  const method: GrpcMethod = {
    kind: "unary",
    path: "/test.Echo/Say",
    handle: () => Promise.reject(new GrpcError(grpcStatus.permissionDenied, "no: 100 % 🙂")),
  };
  await withPair([method], async ({ channel }) => {
    await assert.rejects(channel.unary("/test.Echo/Say", Buffer.of(), { timeoutMs: 5000 }), {
      code: grpcStatus.permissionDenied,
      message: "no: 100 % 🙂",
    });
    await assert.rejects(channel.unary("/test.Echo/Other", Buffer.of(), { timeoutMs: 5000 }), {
      code: grpcStatus.unimplemented,
    });
  });
});

test("unary() hides what a handler threw unknowingly", async () => {
  const method: GrpcMethod = {
    kind: "unary",
    path: "/test.Echo/Say",
    handle: () => Promise.reject(new Error("secret path")),
  };
  await withPair([method], async ({ channel }) => {
    await assert.rejects(channel.unary("/test.Echo/Say", Buffer.of(), { timeoutMs: 5000 }), {
      code: grpcStatus.internal,
      message: "internal error",
    });
  });
});

test("unary() refuses a request longer than the limit", async () => {
  await withPair(
    [echo],
    async ({ channel, limits }) => {
      await assert.rejects(
        channel.unary("/test.Echo/Say", Buffer.alloc(100), { timeoutMs: 5000 }),
        { code: grpcStatus.resourceExhausted },
      );
      assert.deepEqual(limits, ["message-bytes"]);
    },
    { messageBytesMax: 64 },
  );
});

test("unary() ends at its deadline", async () => {
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const method: GrpcMethod = {
    kind: "unary",
    path: "/test.Echo/Say",
    handle: () => {
      resolve();
      return new Promise(() => {});
    },
  };
  await withPair([method], async ({ channel, clock }) => {
    const answer = channel.unary("/test.Echo/Say", Buffer.of(), { timeoutMs: 5000 });
    await asked;
    clock.advance(5000); // the server's clock: it keeps to grpc-timeout
    await assert.rejects(answer, { code: grpcStatus.deadlineExceeded });
  });
});

test("openStream() carries messages both ways until either side ends", async () => {
  const method: GrpcMethod = {
    kind: "stream",
    path: "/test.Echo/Chat",
    open: (stream) => ({
      onMessage: (message) => void stream.write([Buffer.from("you said "), message]),
      onClose: () => {},
    }),
  };
  await withPair([method], async ({ channel }) => {
    const chat = listen();
    const stream = await channel.openStream("/test.Echo/Chat", chat);
    stream.write(Buffer.from("one"));
    assert.equal(await chat.message(), "you said one");
    stream.write(Buffer.from("two"));
    assert.equal(await chat.message(), "you said two");
    stream.end();
    assert.equal(await chat.closed, undefined);
    assert.equal(stream.write(Buffer.from("three")), false);
  });
});

test("openStream() is refused with a status when the method throws one", async () => {
  const method: GrpcMethod = {
    kind: "stream",
    path: "/test.Echo/Chat",
    open: () => {
      throw new GrpcError(grpcStatus.unauthenticated, "who are you");
    },
  };
  await withPair([method], async ({ channel }) => {
    const chat = listen();
    await channel.openStream("/test.Echo/Chat", chat);
    const error = await chat.closed;
    assert.equal(error?.code, grpcStatus.unauthenticated);
    assert.equal(error?.message, "who are you");
  });
});

test("write() ends a stream whose reader is too slow", async () => {
  const { promise: closed, resolve } = Promise.withResolvers<string | undefined>();
  const method: GrpcMethod = {
    kind: "stream",
    path: "/test.Echo/Chat",
    open: (stream) => ({
      onMessage: () => {
        while (stream.write([Buffer.alloc(1 << 20)]));
      },
      onClose: resolve,
    }),
  };
  await withPair(
    [method],
    async ({ channel, limits }) => {
      const chat = listen();
      const stream = await channel.openStream("/test.Echo/Chat", chat);
      stream.write(Buffer.of(1));
      await closed;
      assert.notEqual(await chat.closed, undefined);
      assert.deepEqual(limits, ["queued-bytes"]);
    },
    { queuedBytesMax: 8 << 20 },
  );
});

test("openStream() ends with OK when the connection has reached its age", async () => {
  const method: GrpcMethod = {
    kind: "stream",
    path: "/test.Echo/Chat",
    open: (stream) => ({
      onMessage: (message) => void stream.write([message]),
      onClose: () => {},
    }),
  };
  await withPair(
    [method],
    async ({ channel, clock }) => {
      const chat = listen();
      const stream = await channel.openStream("/test.Echo/Chat", chat);
      stream.write(Buffer.from("one"));
      await chat.message();
      clock.advance(1100); // the age and its jitter
      assert.equal(await chat.closed, undefined);
      const again = listen();
      const next = await channel.openStream("/test.Echo/Chat", again);
      next.write(Buffer.from("two"));
      assert.equal(await again.message(), "two");
    },
    { connectionAgeMaxMs: 1000 },
  );
});

test("startGrpcServer() drops a connection that answers no ping", async () => {
  const { promise: closed, resolve } = Promise.withResolvers<string | undefined>();
  const method: GrpcMethod = {
    kind: "stream",
    path: "/test.Echo/Chat",
    open: (stream) => ({
      onMessage: (message) => void stream.write([message]),
      onClose: resolve,
    }),
  };
  await withPair([method], async ({ channel, clock }) => {
    const chat = listen();
    const stream = await channel.openStream("/test.Echo/Chat", chat);
    stream.write(Buffer.from("one"));
    await chat.message();
    clock.advance(defaultGrpcKeepalive.intervalMs + defaultGrpcKeepalive.timeoutMs);
    assert.match((await closed) ?? "", /no answer to a ping|reset/);
    assert.notEqual(await chat.closed, undefined);
  });
});

test("startGrpcServer() makes a Unix socket for its owner, in place of a dead one, and removes it", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-grpc-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "xds.sock");
  const options = {
    listen: { path },
    methods: [echo],
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
  };
  await leaveSocket(path);
  const server = await startGrpcServer(options);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const channel = openGrpcChannel({
    target: { path },
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  const answer = await channel.unary(echo.path, Buffer.from("hello"), { timeoutMs: 5000 });
  assert.match(text(answer), /^hello/);
  channel.close();
  await server.close();
  assert.equal(existsSync(path), false);
  // What is no socket is somebody's, and stays.
  writeFileSync(path, "mine");
  await assert.rejects(startGrpcServer(options), { code: "net.listen-failed" });
  assert(statSync(path).isFile());
});

/** A socket in the file system that nobody listens on, as a killed process leaves it. */
async function leaveSocket(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(`${path}.living`, resolve);
  });
  renameSync(`${path}.living`, path);
  chmodSync(path, 0o777);
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
}

test("startGrpcServer() says where it could not listen", async (t) => {
  const start = startGrpcServer({
    listen: { path: "/proc/nonexistent/socket" },
    methods: [],
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
  });
  t.after(() => start.then((server) => server.close()).catch(() => {}));
  await assert.rejects(start, {
    code: "net.listen-failed",
    message: /^listening on unix:\/proc\/nonexistent\/socket: /,
  });
});

test("openGrpcChannel() says what it dialled when nobody listens", async (t) => {
  const channel = openGrpcChannel({
    target: { path: "/proc/nonexistent/socket" },
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  t.after(() => channel.close());
  await assert.rejects(channel.unary("/a/b", Buffer.of(), { timeoutMs: 1000 }), {
    code: grpcStatus.unavailable,
    message: /connecting to unix:\/proc\/nonexistent\/socket: .*ENOENT/,
  });
});
