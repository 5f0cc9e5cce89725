/** An HTTP/2 client that writes frames as it is told, and says what came back. */
import net from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import { HpackDecoder } from "../../../src/wire/hpack-decoder.ts";
import { Http1Head } from "../../../src/wire/http1-head.ts";

export type Fields = readonly (readonly [name: string, value: string])[];

/** What one stream came to. */
export interface StreamAnswer {
  status: string;
  fields: Readonly<Record<string, string>>;
  body: string;
  /** It ended as it should. */
  isWhole: boolean;
  /** RST_STREAM's code. */
  reset: number | undefined;
}

export const frame = {
  headers: 1,
  data: 0,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const endStream = 1;
export const endHeaders = 4;

export function frameBytes(
  type: number,
  flags: number,
  ...[streamId, payload]: [streamId: number, payload: Uint8Array]
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** Literals that touch no table, so that blocks may be written in any order. */
export function block(fields: Fields): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  const length = Buffer.alloc(bytes.length < 127 ? 1 : 5);
  if (bytes.length < 127) length[0] = bytes.length;
  else {
    let rest = bytes.length - 127;
    length[0] = 127;
    for (let at = 1; at < 5; at++) {
      length[at] = (rest & 0x7f) | (at < 4 ? 0x80 : 0);
      rest >>>= 7;
    }
  }
  return Buffer.concat([length, bytes]);
}

export class RawClient {
  readonly streams: Map<number, StreamAnswer> = new Map();
  /** GOAWAY's code. */
  goAway: number | undefined;
  /** What came, in order, but content and answers to SETTINGS: `HEAD 1 200`, `END 1`, `RESET 1 8`, `GOAWAY max 0`. */
  readonly events: string[] = [];
  isClosed = false;
  readonly #socket: net.Socket;
  readonly #decoder = new HpackDecoder({ headBytesMax: 1_000_000, fieldsMax: 1000 }, 4096);
  #received = Buffer.alloc(0);

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("close", () => (this.isClosed = true));
    socket.on("error", () => {});
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = net.connect(port, "127.0.0.1");
    await once(socket, "connect");
    return new RawClient(socket);
  }

  begin(settings: Uint8Array = Buffer.alloc(0)): void {
    this.write(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    this.frame(frame.settings, 0, 0, settings);
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  frame(...args: Parameters<typeof frameBytes>): void {
    this.write(frameBytes(...args));
  }

  request(streamId: number, fields: Fields, flags: number = endStream | endHeaders): void {
    this.frame(frame.headers, flags, streamId, block(fields));
  }

  /** Until the streams have ended or the connection has, be it by a farewell, or the time is over. */
  async settle(streamIds: readonly number[], timeoutMs: number): Promise<void> {
    const isOver = (id: number): boolean => {
      const answer = this.streams.get(id);
      return answer !== undefined && (answer.isWhole || answer.reset !== undefined);
    };
    await this.until(
      () => streamIds.length > 0 && (streamIds.every(isOver) || (this.goAway ?? 0) > 0),
      timeoutMs,
    );
  }

  /** Until it is so, or the connection or the time is over. */
  async until(isSo: () => boolean, timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs;
    while (!this.isClosed && !isSo() && performance.now() < until) await sleep(5);
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 9) {
      const length = this.#received.readUIntBE(0, 3);
      if (this.#received.length < 9 + length) return;
      this.#onFrame(this.#received.subarray(0, 9), this.#received.subarray(9, 9 + length));
      this.#received = this.#received.subarray(9 + length);
    }
  }

  #onFrame(head: Buffer, payload: Buffer): void {
    const type = head[3] ?? 0;
    const flags = head[4] ?? 0;
    const streamId = head.readUInt32BE(5);
    if (type === 7) this.#onGoAway(payload);
    if (type === frame.settings && flags === 0) this.frame(frame.settings, 1, 0, Buffer.alloc(0));
    if (streamId === 0) return;
    let answer = this.streams.get(streamId);
    if (answer === undefined) {
      answer = { status: "", fields: {}, body: "", isWhole: false, reset: undefined };
      this.streams.set(streamId, answer);
    }
    if (type === frame.headers) {
      this.#onHead(payload, answer);
      this.events.push(`HEAD ${streamId} ${answer.status}`);
    }
    if (type === frame.data) answer.body += payload.toString("latin1");
    if (type === frame.reset) {
      answer.reset = payload.readUInt32BE(0);
      this.events.push(`RESET ${streamId} ${answer.reset}`);
    } else if (type <= 1 && (flags & endStream) !== 0) {
      answer.isWhole = true;
      this.events.push(`END ${streamId}`);
    }
  }

  #onGoAway(payload: Buffer): void {
    this.goAway = payload.readUInt32BE(4);
    const last = payload.readUInt32BE(0);
    this.events.push(`GOAWAY ${last === 2 ** 31 - 1 ? "max" : last} ${this.goAway}`);
  }

  #onHead(payload: Buffer, answer: StreamAnswer): void {
    const fields = new Http1Head();
    fields.reset("response");
    if (!this.#decoder.decode(payload, 0, payload.length, fields)) throw new Error("no HPACK");
    const byName: Record<string, string> = {};
    for (let field = 0; field < fields.count; field++) {
      const [name, value] = [fields.nameAt(field), fields.valueAt(field)];
      if (name === ":status" && value !== "100") answer.status = value;
      else byName[name] = value;
    }
    answer.fields = byName;
  }
}
