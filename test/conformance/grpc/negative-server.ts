/**
 * The server that gRPC's negative tests of HTTP/2 ask for: it says farewell, breaks streams off, sends PING
 * all the time, pads its content or takes one stream at a time, and writes down where its peer did not keep to that.
 */
import http2 from "node:http2";
import type { AddressInfo } from "node:net";

export interface NegativeServer {
  readonly port: number;
  /** What the peer did wrong. */
  readonly complaints: string[];
  /** Connections that requests came on. */
  readonly connections: Set<http2.Http2Session>;
  close(): void;
}

const answerBytes = 314_159;

/** SimpleResponse with a payload of that many bytes, as one message. */
function largeAnswer(): Buffer {
  const varint = (value: number): Buffer => {
    const bytes: number[] = [];
    for (let rest = value; ; rest >>>= 7) {
      bytes.push(rest > 127 ? (rest & 127) | 128 : rest);
      if (rest <= 127) return Buffer.from(bytes);
    }
  };
  const body = Buffer.concat([Buffer.from([0x12]), varint(answerBytes), Buffer.alloc(answerBytes)]);
  const payload = Buffer.concat([Buffer.from([0x0a]), varint(body.length), body]);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(payload.length, 1);
  return Buffer.concat([prefix, payload]);
}

const answer = largeAnswer();
const head = { ":status": 200, "content-type": "application/grpc" };

export async function startNegativeServer(name: string): Promise<NegativeServer> {
  const { PADDING_STRATEGY_MAX, PADDING_STRATEGY_NONE } = http2.constants;
  const isPadded = name === "data_frame_padding";
  const server = http2.createServer({
    maxOutstandingPings: 10_000,
    paddingStrategy: isPadded ? PADDING_STRATEGY_MAX : PADDING_STRATEGY_NONE,
  });
  const complaints: string[] = [];
  const connections = new Set<http2.Http2Session>();
  const all = new Set<http2.Http2Session>();
  server.on("session", (session) => {
    all.add(session);
    session.on("error", () => {});
    let open = 0;
    let isLimited = false;
    session.on("stream", (stream) => {
      connections.add(session);
      open++;
      if (isLimited && open > 1) complaints.push(`${open} streams at once`);
      stream.on("close", () => open--);
      stream.on("error", () => {});
      stream.on("data", () => name === "ping" && ping(session, complaints));
      stream.on("end", () => serve(name, stream, session));
      if (name !== "max_streams" || isLimited) return;
      session.settings({ maxConcurrentStreams: 1 }, () => (isLimited = open <= 1));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    complaints,
    connections,
    close: () => {
      server.close();
      for (const session of all) session.destroy();
    },
  };
}

function ping(session: http2.ServerHttp2Session, complaints: string[]): void {
  session.ping(Buffer.from("negative"), (error, _ms, payload) => {
    if (session.destroyed) return;
    if (error !== null) complaints.push(`PING: ${error.message}`);
    else if (payload.toString() !== "negative") complaints.push("PING came back otherwise");
  });
}

function serve(
  name: string,
  stream: http2.ServerHttp2Stream,
  session: http2.ServerHttp2Session,
): void {
  // `close()` would end the answer well before.
  const breakOff = (): void => void setTimeout(() => stream.destroy(new Error("as asked")), 50);
  switch (name) {
    case "rst_after_header":
      stream.respond(head);
      return breakOff();
    case "rst_during_data":
      stream.respond(head);
      stream.write(answer.subarray(0, 10_000));
      return breakOff();
    case "rst_after_data":
      stream.respond(head);
      stream.write(answer, breakOff);
      return;
    default:
      if (stream.destroyed) return;
      stream.respond(head, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(answer);
      if (name === "goaway") session.goaway(0, stream.id);
  }
}
