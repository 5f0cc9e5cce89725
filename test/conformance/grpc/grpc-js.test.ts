import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import grpc from "@grpc/grpc-js";

import { systemClock } from "../../../src/base/clock.ts";
import { openGrpcChannel } from "../../../src/net/grpc-client.ts";
import { type GrpcServer, startGrpcServer } from "../../../src/net/grpc-server.ts";
import { defaultGrpcKeepalive, GrpcError } from "../../../src/net/grpc.ts";
import { grpcStatus } from "../../../src/wire/grpc.ts";
import { silentLog } from "../../support/silent-log.ts";

// Heddle's gRPC against the reference implementation for Node, in both directions.
const passBytes = (bytes: Buffer): Buffer => bytes;
const service = {
  say: method("/test.Echo/Say", false),
  chat: method("/test.Echo/Chat", true),
};
const large = Buffer.alloc(3_000_000, "x");

function method(path: string, isStream: boolean): grpc.MethodDefinition<Buffer, Buffer> {
  return {
    path,
    requestStream: isStream,
    responseStream: isStream,
    requestSerialize: passBytes,
    requestDeserialize: passBytes,
    responseSerialize: passBytes,
    responseDeserialize: passBytes,
  };
}

let ours: GrpcServer;
let theirs: grpc.Server;
let theirPort = 0;

before(async () => {
  ours = await startGrpcServer({
    listen: { address: "127.0.0.1", port: 0 },
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
    methods: [
      {
        kind: "unary",
        path: service.say.path,
        handle: (request, call) =>
          request.length === 0
            ? Promise.reject(new GrpcError(grpcStatus.notFound, "nothing: ü"))
            : Promise.resolve(Buffer.concat([request, Buffer.from(call.metadata("x-name") ?? "")])),
      },
      {
        kind: "stream",
        path: service.chat.path,
        open: (stream) => ({
          onMessage: (message) => void stream.write([message, Buffer.from("!")]),
          onClose: () => {},
        }),
      },
    ],
  });
  theirs = new grpc.Server();
  theirs.addService(service, {
    say: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      const [name] = call.metadata.get("x-name");
      if (call.request.length === 0) done({ code: grpc.status.NOT_FOUND, details: "nothing: ü" });
      else done(null, Buffer.concat([call.request, Buffer.from(name ?? "")]));
    },
    chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on("data", (message: Buffer) => call.write(Buffer.concat([message, Buffer.from("!")])));
      call.on("end", () => call.end());
    },
  });
  theirPort = await new Promise<number>((resolve, reject) => {
    theirs.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port);
      else reject(error);
    });
  });
});

after(async () => {
  theirs.forceShutdown();
  await ours.close();
});

test("startGrpcServer() answers a grpc-js client", async () => {
  assert.ok("port" in ours.address);
  const client = new grpc.Client(
    `127.0.0.1:${ours.address.port}`,
    grpc.credentials.createInsecure(),
  );
  const metadata = new grpc.Metadata();
  metadata.set("x-name", "ann");
  const say = (request: Buffer): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        service.say.path,
        passBytes,
        passBytes,
        request,
        metadata,
        { deadline: Date.now() + 30_000 },
        (error, value) => (error === null ? resolve(value ?? Buffer.of()) : reject(error)),
      );
    });
  assert.equal((await say(Buffer.from("hi "))).toString(), "hi ann");
  assert.equal((await say(large)).length, large.length + 3);
  await assert.rejects(say(Buffer.of()), { code: grpc.status.NOT_FOUND, details: "nothing: ü" });

  const chat = client.makeBidiStreamRequest(service.chat.path, passBytes, passBytes);
  const got: string[] = [];
  chat.on("data", (message: Buffer) => got.push(message.toString()));
  chat.write(Buffer.from("a"));
  chat.write(Buffer.from("b"));
  chat.end();
  const status = await new Promise<grpc.StatusObject>((resolve) => chat.on("status", resolve));
  assert.equal(status.code, grpc.status.OK);
  assert.deepEqual(got, ["a!", "b!"]);
  client.close();
});

test("openGrpcChannel() speaks to a grpc-js server", async () => {
  const channel = openGrpcChannel({
    target: { address: "127.0.0.1", port: theirPort },
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  const say = (request: Buffer): Promise<Uint8Array> =>
    channel.unary(service.say.path, request, { metadata: { "x-name": "ann" }, timeoutMs: 5000 });
  assert.equal(Buffer.from(await say(Buffer.from("hi "))).toString(), "hi ann");
  assert.equal((await say(large)).length, large.length + 3);
  await assert.rejects(say(Buffer.of()), { code: grpcStatus.notFound, message: "nothing: ü" });

  const got: string[] = [];
  const closed = Promise.withResolvers<GrpcError | undefined>();
  const stream = await channel.openStream(service.chat.path, {
    onMessage: (message) => got.push(Buffer.from(message).toString()),
    onClose: closed.resolve,
  });
  stream.write(Buffer.from("a"));
  stream.write(Buffer.from("b"));
  stream.end();
  assert.equal(await closed.promise, undefined);
  assert.deepEqual(got, ["a!", "b!"]);
  channel.close();
});
