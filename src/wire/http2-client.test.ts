/** The client's side of a session against Node's own HTTP/2 server, which is nghttp2, and against frames. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { type Duplex, duplexPair } from "node:stream";
import { test } from "node:test";

import { defaultHeadLimits, type HeadLimits, Http1Head } from "./http1-head.ts";
import { defaultFloodLimits } from "./http2-floods.ts";
import { errorCode, frameType, type Violation } from "./http2-frames.ts";
import { FrameMemory } from "./http2-frame-memory.ts";
import { Http2Session } from "./http2-session.ts";
import type { Http2Stream, StreamOwner } from "./http2-stream.ts";

/** Asks, and writes down what it is told. */
class Question implements StreamOwner {
  readonly head: Http1Head = new Http1Head();
  readonly trailers: Http1Head = new Http1Head();
  readonly events: string[] = [];
  stream: Http2Stream | undefined;
  onOver: () => void = () => {};

  onOpened(stream: Http2Stream): void {
    this.stream = stream;
  }
  onInterim(status: number): void {
    this.events.push(`interim ${status}`);
  }
  onHead(isEnd: boolean): void {
    const { head } = this;
    const fields = Array.from({ length: head.count }, (_, field) => field)
      .filter((field) => head.dropped[field] === 0 && head.nameAt(field) !== "date")
      .map((field) => `${head.nameAt(field)}=${head.valueAt(field)}`);
    const how = `${head.bodyKind}${isEnd ? " end" : ""}`;
    this.events.push([head.status, how, ...fields].join(" "));
  }
  onData(chunk: Buffer, from: number, to: number): void {
    this.events.push(`content ${chunk.toString("latin1", from, to)}`);
  }
  onEnd(trailers: Http1Head | undefined): void {
    this.events.push(`end ${trailers?.joined("x-trailer") ?? ""}`.trim());
  }
  onRoom(): void {}
  onMalformed(error: string): void {
    this.events.push(`malformed ${error}`);
  }
  onReset(code: number, why?: Violation): void {
    this.events.push(`reset ${code} ${why ?? ""}`.trim());
    this.onOver();
  }
  onClosed(): void {
    this.events.push("closed");
    this.onOver();
  }
}

class Client {
  readonly session: Http2Session;
  readonly errors: string[] = [];
  farewells = 0;

  constructor(send: (bytes: Buffer) => void, limits: HeadLimits = defaultHeadLimits) {
    this.session = new Http2Session(
      {
        maxConcurrentStreams: 100,
        streamWindow: 65_535,
        connectionWindow: 1024 * 1024,
        tableBytes: 4096,
        limits,
        floods: { ...defaultFloodLimits, resetsMax: Number.POSITIVE_INFINITY },
      },
      {
        side: "client",
        memory: new FrameMemory(),
        send: (memory, length) => {
          send(Buffer.from(memory.subarray(0, length)));
          return true;
        },
        handler: {
          onMalformed: () => true,
          onStreamError: () => {},
          onError: (_code, why) => void this.errors.push(why),
          onPingAck: () => {},
          onPeerSettings: () => {},
          onGoAway: () => void this.farewells++,
        },
      },
    );
    this.session.start();
    this.session.sender.flush();
  }

  ask(method: string, path: string, body?: string): Question {
    const question = new Question();
    const stream = this.session.streams.beginOwn(question, method === "HEAD");
    const { sender } = this.session;
    const writer = sender.beginHead(stream.id);
    for (const [name, value] of [
      [":method", method],
      [":scheme", "http"],
      [":authority", "server"],
      [":path", path],
    ] as const) {
      sender.encoder.field(writer, name, value);
    }
    sender.endHead(stream, body === undefined);
    if (body !== undefined) {
      const bytes = Buffer.from(body);
      sender.data(stream, bytes, 0, bytes.length, true);
    }
    sender.flush();
    return question;
  }
}

function serve(serverEnd: Duplex): http2.Http2Server {
  const server = http2.createServer();
  server.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
    stream.on("error", () => {});
    switch (headers[":path"] ?? "") {
      case "/trailers":
        stream.respond({ ":status": 200 }, { waitForTrailers: true });
        stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailer": "yes" }));
        stream.end("content");
        return;
      case "/interim":
        stream.additionalHeaders({ ":status": 103, link: "a" });
        stream.respond({ ":status": 204 }, { endStream: true });
        return;
      case "/reset":
        stream.close(errorCode.refusedStream);
        return;
      default:
        stream.respond({ ":status": 200, "content-length": 4 }, { endStream: false });
        stream.end(headers[":method"] === "HEAD" ? undefined : "done");
    }
  });
  server.emit("connection", serverEnd);
  return server;
}

for (const step of [1, 7, 100_000]) {
  test(`Http2Session asks Node's server, ${step} bytes at a time`, async () => {
    const [ours, theirs] = duplexPair();
    const server = serve(theirs);
    const client = new Client((bytes) => ours.write(bytes));
    ours.on("data", (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; at += step) {
        client.session.receive(chunk.subarray(at, at + step), 0);
      }
      client.session.sender.flush();
    });
    const over = async (question: Question): Promise<string[]> => {
      await new Promise<void>((resolve) => (question.onOver = resolve));
      return question.events;
    };
    const [got, head, trailers, interim, refused] = await Promise.all([
      over(client.ask("GET", "/")),
      over(client.ask("HEAD", "/")),
      over(client.ask("POST", "/trailers", "a question")),
      over(client.ask("GET", "/interim")),
      over(client.ask("GET", "/reset")),
    ]);
    assert.deepEqual(joined(got), ["200 length content-length=4", "content done", "end", "closed"]);
    assert.equal(head[0]?.slice(0, 8), "200 none");
    assert.deepEqual(joined(trailers), ["200 until-close", "content content", "end yes", "closed"]);
    assert.deepEqual(interim, ["interim 103", "204 none end", "end", "closed"]);
    assert.deepEqual(refused, [`reset ${errorCode.refusedStream}`]);
    assert.deepEqual(client.errors, []);
    assert.equal(client.session.streams.open.size, 0);
    assert.ok(client.session.isSettled);
    ours.destroy();
    theirs.destroy();
    server.close();
    await once(server, "close");
  });
}

/** Content comes in as many pieces as chunks; what it says counts. */
function joined(events: readonly string[]): readonly string[] {
  const content = events.filter((event) => event.startsWith("content "));
  const whole = `content ${content.map((event) => event.slice("content ".length)).join("")}`;
  const at = events.findIndex((event) => event.startsWith("content "));
  const others = events.filter((event) => !event.startsWith("content "));
  return at < 0 ? others : others.toSpliced(at, 0, whole);
}

function frame(type: number, flags: number, ...[id, payload]: [number, number[]]): Buffer {
  const bytes = Buffer.alloc(9);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(id, 5);
  return Buffer.concat([bytes, Buffer.from(payload)]);
}

const settings = frame(frameType.settings, 0, 0, []);
const endStream = 0x1;
const endHeaders = 0x4;

/** What one question is told when its server says these frames. */
function tell(...frames: Buffer[]): { readonly client: Client; readonly events: string[] } {
  const client = new Client(() => {});
  const { events } = client.ask("GET", "/");
  client.session.receive(Buffer.concat([settings, ...frames]), 0);
  return { client, events };
}

test("Http2Session takes no answer that HTTP/1.1 would read otherwise", () => {
  const literal = (name: string, value: string): number[] => [
    0,
    name.length,
    ...Buffer.from(name),
    value.length,
    ...Buffer.from(value),
  ];
  const ok = 0x88;
  const cases: readonly (readonly [string, number[], flags: number])[] = [
    ["no status", literal("a", "b"), 0],
    ["a status behind fields", [...literal("a", "b"), ok], 0],
    ["two", [ok, ok], 0],
    ["another pseudo-field", [ok, 0x84], 0],
    ["a status of two digits", literal(":status", "20"), 0],
    ["a switch of protocols", literal(":status", "101"), 0],
    ["an interim answer that ends", literal(":status", "100"), endStream],
    ["a field of the connection", [ok, ...literal("connection", "close")], 0],
    ["a transfer coding", [ok, ...literal("transfer-encoding", "chunked")], 0],
    ["two lengths", [ok, ...literal("content-length", "1"), ...literal("content-length", "1")], 0],
    ["a length that is none", [ok, ...literal("content-length", "+1")], 0],
    ["content that does not come", [ok, ...literal("content-length", "1")], endStream],
    ["an upper-case name", [ok, ...literal("A", "b")], 0],
    ["a line end in a value", [ok, ...literal("a", "b\n")], 0],
  ];
  for (const [what, block, flags] of cases) {
    const { client, events } = tell(frame(frameType.headers, flags | endHeaders, 1, block));
    assert.match(events[0] ?? "", /^malformed /, what);
    assert.match(events[1] ?? "", /^reset /, what);
    assert.equal(events.length, 2, what);
    assert.deepEqual(client.errors, [], what);
  }
});

test("Http2Session takes no content before its head, nor more than was promised", () => {
  const early = tell(frame(frameType.data, 0, 1, [1]));
  assert.deepEqual(early.events, ["malformed syntax", "reset 1 malformed"]);
  const head = frame(frameType.headers, endHeaders, 1, [0x88, 0x0f, 0x0d, 1, 0x31]);
  const surplus = tell(head, frame(frameType.data, 0, 1, [1, 2]));
  assert.deepEqual(surplus.events.slice(1), ["malformed content-length", "reset 1 content-length"]);
});

test("Http2Session tells whom a farewell leaves unserved", () => {
  const client = new Client(() => {});
  const [first, second] = [client.ask("GET", "/"), client.ask("GET", "/")];
  const farewell = frame(frameType.goAway, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0]);
  client.session.receive(Buffer.concat([settings, farewell]), 0);
  assert.equal(client.farewells, 1);
  assert.deepEqual(first.events, []);
  assert.deepEqual(second.events, [`reset ${errorCode.refusedStream}`]);
  client.session.receive(frame(frameType.headers, endHeaders | endStream, 1, [0x88]), 0);
  assert.deepEqual(first.events, ["200 none end", "end", "closed"]);
});

test("Http2Session ends a server that begins streams, or answers one that was never begun", () => {
  const push = [0, 0, 0, 2, 0x88];
  assert.deepEqual(tell(frame(frameType.pushPromise, endHeaders, 1, push)).client.errors, ["push"]);
  assert.deepEqual(tell(frame(frameType.headers, endHeaders, 2, [0x88])).client.errors, [
    "stream-id",
  ]);
  assert.deepEqual(tell(frame(frameType.headers, endHeaders, 3, [0x88])).client.errors, [
    "stream-id",
  ]);
});

test("Http2Session takes late frames of a stream that it broke off", () => {
  const { client, events } = tell();
  const stream = client.session.streams.open.get(1);
  assert.ok(stream !== undefined);
  client.session.streams.breakOff(stream, errorCode.cancel);
  const head = frame(frameType.headers, endHeaders, 1, [0x88]);
  client.session.receive(Buffer.concat([head, frame(frameType.data, endStream, 1, [1])]), 0);
  assert.deepEqual(events, []);
  assert.deepEqual(client.errors, []);
});

test("Http2Session gives nobody the rest of a frame whose stream it broke off meanwhile", () => {
  const { client, events } = tell();
  const stream = client.session.streams.open.get(1);
  assert.ok(stream !== undefined);
  const head = frame(frameType.headers, endHeaders, 1, [0x88]);
  const content = frame(frameType.data, endStream, 1, [1, 2, 3, 4]);
  client.session.receive(Buffer.concat([head, content.subarray(0, 11)]), 0);
  const before = events.length;
  client.session.streams.breakOff(stream, errorCode.cancel);
  client.session.receive(content.subarray(11), 0);
  assert.equal(events.length, before);
  assert.deepEqual(client.errors, []);
});

test("Http2Session ends a server that speaks of streams that neither side can have begun", () => {
  const errorOf = (...args: Parameters<typeof frame>): readonly string[] =>
    tell(frame(...args)).client.errors;
  assert.deepEqual(errorOf(frameType.data, 0, 2, [1]), ["idle-stream"]);
  assert.deepEqual(errorOf(frameType.reset, 0, 2, [0, 0, 0, 8]), ["idle-stream"]);
  assert.deepEqual(errorOf(frameType.windowUpdate, 0, 3, [0, 0, 0, 8]), ["idle-stream"]);
});

test("Http2Session refuses an answer whose head is too much beside those of other streams", () => {
  const client = new Client(() => {}, { headBytesMax: 4 * 1024 * 1024, fieldsMax: 2000 });
  const questions = ["/1", "/2", "/3"].map((path) => client.ask("GET", path));
  // One field of 4,000 bytes goes into the table; each byte behind it names that once more: 3.9 MB.
  const first = [0x40, 1, 0x61, 0x7f, 0xa1, 0x1e, ...Buffer.alloc(4000, "x")];
  const again = Array.from({ length: 980 }, () => 0xbe);
  const answer = (stream: number, block: number[]): void =>
    client.session.receive(frame(frameType.headers, endHeaders, stream, block), 0);
  client.session.receive(settings, 0);
  answer(1, [0x88, ...first, ...again]);
  answer(3, [0x88, ...again]);
  answer(5, [0x88, ...again]);
  const told = (at: number): readonly string[] =>
    questions[at]?.events.map((event) => event.slice(0, 20)) ?? [];
  assert.deepEqual(told(2), ["malformed head-too-l", "reset 2 head-limit"]);
  assert.equal(told(0).length, 1);
  // An answer that has ended holds nothing.
  client.session.receive(frame(frameType.data, endStream, 1, []), 0);
  assert.equal(told(0).at(-1), "closed");
  const last = client.ask("GET", "/4");
  // An interim one holds until the next head has come.
  answer(7, [0x08, 0x03, 0x31, 0x30, 0x33, ...again]);
  assert.deepEqual(last.events, ["interim 103"]);
  answer(7, [0x88]);
  assert.equal(last.events.at(-1), "200 until-close");
  const next = client.ask("GET", "/5");
  answer(9, [0x88, ...again]);
  assert.equal(next.events.length, 1);
  assert.deepEqual(client.errors, []);
});
