// gRPC as the shop's services speak it, over node:http2 alone: a message is JSON behind five bytes that
// say how long it is (content-type application/grpc+json). Nothing here knows of a mesh.
import { connect, createServer } from "node:http2";

import { stopOnSignal } from "./web.mjs";

const contentType = "application/grpc+json";
const messageBytesMax = 64 * 1024;
const statusOf = { ok: 0, invalid: 3, unimplemented: 12, internal: 13, unavailable: 14 };

/** What a call ends with when it fails. */
export class CallError extends Error {
  constructor(status, message) {
    super(message);
    this.status = statusOf[status] ?? statusOf.internal;
  }
}

function frame(message) {
  const body = Buffer.from(JSON.stringify(message));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(body.length, 1);
  return Buffer.concat([prefix, body]);
}

/** The messages of a stream, one after another. */
async function* messagesOf(stream) {
  let waiting = Buffer.alloc(0);
  for await (const chunk of stream) {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= 5) {
      const length = waiting.readUInt32BE(1);
      if (length > messageBytesMax) throw new CallError("invalid", "the message is too long");
      if (waiting.length < 5 + length) break;
      yield JSON.parse(waiting.subarray(5, 5 + length).toString("utf8"));
      waiting = waiting.subarray(5 + length);
    }
  }
}

/** `methods`: "/package.Service/Method" → async (messages, send) => void; both sides may stream. */
export function serveGrpc(methods) {
  const server = createServer();
  server.on("stream", (stream, headers) => {
    stream.on("error", () => stream.close());
    answer(methods[headers[":path"]], stream).catch(() => stream.close());
  });
  server.on("sessionError", () => {});
  server.listen(Number(process.env.PORT ?? 9090), process.env.HOST);
  stopOnSignal(server);
  return server;
}

async function answer(method, stream) {
  let trailers = { "grpc-status": String(statusOf.ok) };
  stream.respond({ ":status": 200, "content-type": contentType }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  try {
    if (method === undefined) throw new CallError("unimplemented", "no such method");
    await method(messagesOf(stream), (message) => stream.write(frame(message)));
  } catch (error) {
    trailers = {
      "grpc-status": String(error.status ?? statusOf.internal),
      "grpc-message": encodeURIComponent(error.message),
    };
  }
  stream.end();
}

/** Messages of all calls from here. */
export const messageCounts = { sent: 0, received: 0 };

const sessions = new Map();

function sessionTo(address) {
  const known = sessions.get(address);
  if (known !== undefined && !known.closed && !known.destroyed) return known;
  const made = connect(`http://${address}`);
  made.on("error", () => made.destroy());
  made.on("goaway", () => sessions.delete(address));
  made.on("close", () => {
    if (sessions.get(address) === made) sessions.delete(address);
  });
  // A service that ends does not wait for its callers' connections.
  made.unref();
  sessions.set(address, made);
  return made;
}

/**
 * Calls `path` of the service at `address`: sends what `say` gives it to send and yields the answers.
 * `say` is told each answer, and returns the next message, or undefined when it has said all.
 */
export async function callGrpc({ address, authority, path, headers = {} }, say, onAnswer) {
  const stream = sessionTo(address).request({
    ":method": "POST",
    ":path": path,
    ":authority": authority,
    "content-type": contentType,
    te: "trailers",
    "grpc-timeout": "8S",
    ...headers,
  });
  let status = "2";
  let reason;
  const note = (fields) => {
    if (fields["grpc-status"] === undefined) return;
    status = String(fields["grpc-status"]);
    reason = decodeURIComponent(String(fields["grpc-message"] ?? ""));
  };
  stream.on("response", note);
  stream.on("trailers", note);
  const tell = (message) => {
    if (message === undefined) {
      stream.end();
      return;
    }
    messageCounts.sent += 1;
    stream.write(frame(message));
  };
  try {
    tell(say());
    for await (const message of messagesOf(stream)) {
      messageCounts.received += 1;
      onAnswer(message);
      if (!stream.writableEnded) tell(say(message));
    }
  } catch (error) {
    reason ??= error.message;
  }
  if (status !== "0")
    throw Object.assign(new Error(`${path}: ${reason ?? "the call broke"}`), { status: 502 });
}
