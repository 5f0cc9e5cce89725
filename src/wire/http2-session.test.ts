/** The session against Node's own HTTP/2 client, which is nghttp2, over a pair of streams in memory. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { Duplex, duplexPair } from "node:stream";
import { test } from "node:test";

import { defaultHeadLimits, Http1Head } from "./http1-head.ts";
import { defaultFloodLimits } from "./http2-floods.ts";
import { FrameMemory } from "./http2-frame-memory.ts";
import { Http2Session, type Http2Settings } from "./http2-session.ts";
import type { Http2Stream, StreamOwner } from "./http2-stream.ts";

const settings: Http2Settings = {
  maxConcurrentStreams: 100,
  streamWindow: 65_535,
  connectionWindow: 1024 * 1024,
  tableBytes: 4096,
  limits: defaultHeadLimits,
  floods: defaultFloodLimits,
};

/** Answers with what it was sent. */
class Echo implements StreamOwner {
  readonly head: Http1Head = new Http1Head();
  readonly trailers: Http1Head = new Http1Head();
  readonly #server: EchoServer;
  #stream: Http2Stream | undefined;

  constructor(server: EchoServer) {
    this.#server = server;
  }

  onOpened(stream: Http2Stream): void {
    this.#stream = stream;
  }

  onHead(isEnd: boolean): void {
    const stream = this.#stream;
    assert.ok(stream !== undefined);
    const { sender } = this.#server.session;
    const writer = sender.beginHead(stream.id);
    sender.encoder.status(writer, 200);
    const { head } = this;
    sender.encoder.field(writer, "x-line", head.text(head.lineStart, head.targetEnd));
    for (let field = 0; field < head.count; field++) {
      if (head.dropped[field] === 0 && head.nameAt(field) !== "transfer-encoding")
        sender.encoder.fieldOf(writer, head, field);
    }
    sender.endHead(stream, isEnd);
  }

  onData(chunk: Buffer, from: number, to: number): void {
    assert.ok(this.#stream !== undefined);
    this.#server.session.sender.data(this.#stream, chunk, from, to, false);
  }

  onEnd(trailers: Http1Head | undefined): void {
    assert.ok(this.#stream !== undefined);
    this.#server.session.sender.end(this.#stream, trailers);
  }

  onRoom(): void {}
  onMalformed(): void {}
  onReset(): void {}
  onClosed(): void {}
}

class EchoServer {
  readonly session: Http2Session;
  readonly errors: string[] = [];

  constructor(side: Duplex, stepBytes: number) {
    this.session = new Http2Session(settings, {
      memory: new FrameMemory(),
      send: (memory, length) => {
        side.write(Buffer.from(memory.subarray(0, length)));
        return true;
      },
      handler: {
        serve: () => new Echo(this),
        onMalformed: () => true,
        onStreamError: (why) => this.errors.push(why),
        onError: (_code, why) => this.errors.push(why),
        onPingAck: () => {},
      },
    });
    this.session.start();
    this.session.sender.flush();
    side.on("data", (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; at += stepBytes) {
        this.session.receive(chunk.subarray(at, at + stepBytes), 0);
      }
      this.session.sender.flush();
    });
  }
}

async function ask(client: http2.ClientHttp2Session, body: Buffer | undefined, more: object = {}) {
  const stream = client.request(
    { ":path": "/a?b", ":method": body === undefined ? "GET" : "POST", "x-one": "1", ...more },
    { endStream: body === undefined },
  );
  if (body !== undefined) stream.end(body);
  const heads: http2.IncomingHttpHeaders[] = [];
  stream.on("response", (headers) => heads.push(headers));
  const parts: Buffer[] = [];
  stream.on("data", (part: Buffer) => parts.push(part));
  await once(stream, "end");
  return { head: heads[0], body: Buffer.concat(parts) };
}

for (const stepBytes of [1, 7, 100_000]) {
  test(`Http2Session serves Node's client, ${stepBytes} bytes at a time`, async () => {
    const [here, there] = duplexPair();
    const server = new EchoServer(there, stepBytes);
    const client = http2.connect("http://shop.test", { createConnection: () => here });
    const large = Buffer.alloc(stepBytes === 1 ? 20_000 : 300_000, "0123456789");
    for (const body of [undefined, Buffer.from("hello"), large, undefined]) {
      const answer = await ask(client, body, { cookie: ["a=1", "b=2"], authorization: "secret" });
      assert.equal(answer.head?.[":status"], 200);
      assert.equal(answer.head["x-line"], `${body === undefined ? "GET" : "POST"} /a?b`);
      assert.equal(answer.head["cookie"], "a=1; b=2");
      assert.equal(answer.head["authorization"], "secret");
      assert.equal(answer.head["host"], "shop.test:80");
      assert.deepEqual(answer.body, body ?? Buffer.alloc(0));
    }
    client.close();
    client.destroy();
    there.destroy();
    assert.deepEqual(server.errors, []);
  });
}

test("Http2Session sends nothing on a stream whose window was taken back while its content waited", () => {
  const sent: Buffer[] = [];
  const echo = new EchoServer(
    new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        sent.push(chunk);
        done();
      },
    }),
    1,
  );
  const { session } = echo;
  const frame = (type: number, flags: number, ...[id, payload]: [number, Buffer]): Buffer => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(id, 5);
    return Buffer.concat([head, payload]);
  };
  const number = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const setting = (value: number): Buffer => Buffer.concat([Buffer.from([0, 4]), number(value)]);
  session.receive(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0);
  session.receive(frame(4, 0, 0, setting(2 ** 30)), 0);
  const post = Buffer.from([0x83, 0x86, 0x84, 0x01, 1, 0x61]);
  session.receive(frame(1, 4, 1, post), 0);
  // More than the connection's window: the rest waits, with the stream's own window wide open.
  for (let piece = 0; piece < 5; piece++) {
    session.receive(frame(0, 0, 1, Buffer.alloc(16_000)), 0);
  }
  session.sender.flush();
  const before = Buffer.concat(sent).length;
  session.receive(frame(4, 0, 0, setting(0)), 0);
  session.receive(frame(8, 0, 0, number(100_000)), 0);
  session.sender.flush();
  // SETTINGS are acknowledged, and that is all.
  assert.equal(Buffer.concat(sent).length - before, 9);
  session.receive(frame(8, 0, 1, number(2 ** 30)), 0);
  session.sender.flush();
  const stream = session.streams.open.get(1);
  assert.equal(stream?.queuedBytes, 0);
  assert.deepEqual(echo.errors, []);
});
