/**
 * Streams that are open while the proxy below them is replaced, of four kinds. Each shows that it lives by
 * an exchange, and has ended well only where everything of it came and its end was said.
 */
import http2 from "node:http2";
import { connect, type Socket } from "node:net";

import type { ProxyPorts } from "./bootstrap.ts";

export type StreamKind = "http" | "grpc" | "websocket" | "tcp";

export interface OpenStream {
  readonly kind: StreamKind;
  /** Resolves when something has come that was sent after this was called; rejects with what became of it. */
  exchange(): Promise<void>;
  /** Asks for the end, or waits for it where the application decides; rejects where it was no good end. */
  end(): Promise<void>;
}

/** Of each kind. */
export type StreamCounts = { readonly [Kind in StreamKind]: number };

/** On one connection of HTTP/2. */
const grpcStreamsEach = 10;

/** All of them, each with a first exchange behind it. */
export async function openStreams(
  ports: ProxyPorts,
  counts: StreamCounts,
): Promise<readonly OpenStream[]> {
  const times = <T>(count: number, make: (at: number) => T): readonly T[] =>
    Array.from({ length: count }, (_, at) => make(at));
  const sessions = times(Math.ceil(counts.grpc / grpcStreamsEach), () => {
    const session = http2.connect(`http://127.0.0.1:${ports.http}`);
    // Its streams fail with it, and tell.
    return session.on("error", () => {});
  });
  const sessionOf = (at: number): http2.ClientHttp2Session | undefined =>
    sessions[Math.floor(at / grpcStreamsEach)];
  const streams = [
    ...times(counts.http, () => openTrickle(ports.http)),
    ...times(counts.grpc, (at) => openGrpc(sessionOf(at))),
    ...times(counts.websocket, () => openWebSocket(ports.http)),
    ...times(counts.tcp, () => openTcp(ports.tcp)),
  ];
  await Promise.all(streams.map((stream) => stream.exchange()));
  return streams;
}

/** What comes of one stream, and who waits for what. */
class Received {
  text = "";
  #failure: string | undefined;
  #isOver = false;
  #onChange: () => void = () => {};

  readonly add = (chunk: Buffer): void => {
    this.text += chunk.toString("latin1");
    this.#onChange();
  };

  /** Nothing comes any more. */
  readonly close = (): void => {
    this.#isOver = true;
    this.#onChange();
  };

  readonly fail = (error: NodeJS.ErrnoException): void => {
    this.#failure ??= error.code ?? error.message;
    this.close();
  };

  /** One wait at a time. */
  until(isThere: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#onChange = () => {
        if (isThere()) resolve();
        else if (this.#isOver) reject(new Error(this.#failure ?? "closed"));
      };
      this.#onChange();
    });
  }

  /** Closed, with all that was to come, and without an error. */
  async whole(isWhole: () => boolean): Promise<void> {
    await this.until(() => this.#isOver);
    if (this.#failure !== undefined) throw new Error(this.#failure);
    if (!isWhole()) throw new Error(`ended in the middle: ${JSON.stringify(this.text.slice(-80))}`);
  }
}

function receive(socket: Socket): Received {
  const received = new Received();
  socket.on("data", received.add).on("error", received.fail).on("close", received.close);
  return received;
}

/** A body of HTTP/1.1 in chunks: a line with a number each tenth of a second. */
function openTrickle(port: number): OpenStream {
  const socket = connect(port, "127.0.0.1");
  const received = receive(socket);
  socket.write("GET /trickle HTTP/1.1\r\nhost: a\r\n\r\n");
  return {
    kind: "http",
    exchange: () => {
      const before = received.text.length;
      return received.until(() => received.text.length > before);
    },
    async end() {
      await received.until(() => received.text.endsWith("\r\n0\r\n\r\n"));
      // The proxy that ends takes the connection along; another would keep it.
      socket.end();
      await received.whole(() => isTrickleWhole(received.text));
    },
  };
}

/** No tick is missing between the first and the last, however the proxy has cut them into chunks. */
function isTrickleWhole(text: string): boolean {
  const lines = bodyOf(text).split("\n");
  // The first is written when the request comes, at any tick.
  const ticks = lines.slice(1, -2).map(Number);
  const first = ticks[0] ?? 0;
  return lines.at(-2) === "end" && ticks.every((tick, at) => tick === first + at);
}

function bodyOf(text: string): string {
  let at = text.indexOf("\r\n\r\n") + 4;
  let body = "";
  for (;;) {
    const start = text.indexOf("\r\n", at) + 2;
    const length = Number.parseInt(text.slice(at, start), 16);
    if (!(length > 0)) return body;
    body += text.slice(start, start + length);
    at = start + length + 2;
  }
}

function openGrpc(session: http2.ClientHttp2Session | undefined): OpenStream {
  const received = new Received();
  let status = "";
  let asked = 0;
  const stream = session?.request({
    ":method": "POST",
    ":path": "/streams.Streams/Echo",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream?.on("data", received.add).on("error", received.fail).on("close", received.close);
  stream?.on("trailers", (trailers) => (status = String(trailers["grpc-status"])));
  return {
    kind: "grpc",
    exchange: () => {
      stream?.write(Buffer.from([0, 0, 0, 0, 1, asked++]));
      return received.until(() => received.text.length === asked * 6);
    },
    async end() {
      stream?.end();
      await received.whole(() => status === "0" && received.text.length === asked * 6);
      session?.close();
    },
  };
}

function openWebSocket(port: number): OpenStream {
  const socket = connect(port, "127.0.0.1");
  const received = receive(socket);
  const upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13";
  const key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
  socket.write(`GET /socket HTTP/1.1\r\nhost: a\r\n${upgrade}\r\n${key}\r\n\r\n`);
  const send = (opcode: number, text: string): void => {
    const head = [0x80 | opcode, 0x80 | text.length, 0, 0, 0, 0];
    socket.write(Buffer.concat([Buffer.from(head), Buffer.from(text, "latin1")]));
  };
  let asked = 0;
  return {
    kind: "websocket",
    async exchange() {
      await received.until(() => received.text.includes("\r\n\r\n"));
      const text = `frame ${++asked}.`;
      send(1, text);
      await received.until(() => received.text.endsWith(text));
    },
    async end() {
      send(8, "\x03\xe8");
      await received.whole(() => received.text.endsWith("\x88\x02\x03\xe8"));
    },
  };
}

function openTcp(port: number): OpenStream {
  const socket = connect(port, "127.0.0.1");
  const received = receive(socket);
  let sent = "";
  return {
    kind: "tcp",
    exchange: () => {
      const line = `line ${sent.length}\n`;
      sent += line;
      socket.write(line);
      return received.until(() => received.text === sent);
    },
    async end() {
      socket.end();
      await received.whole(() => received.text === sent);
    },
  };
}
