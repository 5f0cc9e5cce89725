/**
 * What a client is told of its streams, read slowly: whole HEADERS, DATA and GOAWAY frames, one after another,
 * up to the first thing that is another. RFC 9113 sections 5.1, 6.8, 8.1 and 8.3.2.
 */
import { type Field, ReferenceDecoder } from "./hpack-reference.ts";

/** How a request stands before anything of its answer has come. */
export interface Asked {
  readonly isHead: boolean;
  readonly isWhole: boolean;
}

interface Stream {
  readonly isHead: boolean;
  readonly isWhole: boolean;
  isAnswered: boolean;
  isEnded: boolean;
  /** Undefined while it is open; `ours`: we broke it off. */
  closed: "ended" | "ours" | undefined;
  interims: number;
  content: number;
  /** Content that was promised; undefined where nothing was. */
  promised: number | undefined;
  /** Frames of content as they came, against the stream's window. */
  taken: number;
}

/** What the owners of streams hear, in order; `undefined` at the end: the connection ends there. */
export function readAnswers(
  input: Buffer,
  asked: ReadonlyMap<number, Asked>,
  isStrict: boolean,
): readonly (string | undefined)[] {
  return new Reading(asked, isStrict).read(input);
}

class Stop extends Error {}

const stop = new Stop();

class Reading {
  readonly #decoder = new ReferenceDecoder(4096);
  readonly #streams = new Map<number, Stream>();
  readonly #events: (string | undefined)[] = [];
  readonly #isStrict: boolean;
  #isEmpty = false;

  constructor(asked: ReadonlyMap<number, Asked>, isStrict: boolean) {
    this.#isStrict = isStrict;
    for (const [id, one] of asked) {
      this.#streams.set(id, {
        ...one,
        isAnswered: false,
        isEnded: false,
        closed: undefined,
        interims: 0,
        content: 0,
        promised: undefined,
        taken: 0,
      });
    }
  }

  read(input: Buffer): readonly (string | undefined)[] {
    try {
      for (let at = 0; at + 9 <= input.length;) {
        const length = input.readUIntBE(at, 3);
        const payload = input.subarray(at + 9, at + 9 + length);
        if (payload.length < length) break;
        const id = input.readUInt32BE(at + 5) & 0x7fff_ffff;
        this.#onFrame(input.readUInt16BE(at + 3), id, payload);
        at += 9 + length;
      }
    } catch (error) {
      if (!(error instanceof Stop)) throw error;
    }
    return this.#events;
  }

  #onFrame(typeAndFlags: number, id: number, payload: Buffer): void {
    switch (typeAndFlags) {
      case 0x0104:
      case 0x0105:
        return this.#onHeaders(id, payload, (typeAndFlags & 1) !== 0);
      case 0x0000:
      case 0x0001:
        return this.#onData(id, payload.length, (typeAndFlags & 1) !== 0);
      case 0x0700:
        return this.#onGoAway(id, payload);
      default:
        throw stop;
    }
  }

  #end(): never {
    this.#events.push(undefined);
    throw stop;
  }

  /** Undefined where it is to be passed over. */
  #find(id: number): Stream | undefined {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.closed === "ended") return this.#end();
    return stream.closed === "ours" ? undefined : stream;
  }

  #breakOff(id: number, stream: Stream, isMalformed: boolean): void {
    if (isMalformed) this.#events.push(`${id} malformed`);
    if (isMalformed && this.#isStrict) this.#end();
    stream.closed = "ours";
    this.#events.push(`${id} reset`);
  }

  #onHeaders(id: number, block: Buffer, isEnd: boolean): void {
    const stream = this.#find(id);
    const fields = this.#decoder.decode(block);
    if (fields === undefined) return this.#end();
    if (stream === undefined) return;
    if (stream.isAnswered) return this.#onTrailers(id, stream, { fields, isEnd });
    const answer = readAnswer(fields, isEnd, stream.isHead);
    // Over a limit it is our own fault, which no strictness ends the connection for.
    if (answer === "limit") {
      this.#events.push(`${id} malformed`);
      return this.#breakOff(id, stream, false);
    }
    if (answer === undefined) return this.#breakOff(id, stream, true);
    if (answer.status < 200) {
      if (++stream.interims > 16) return this.#breakOff(id, stream, true);
      return void this.#events.push(`${id} interim ${answer.status}`);
    }
    stream.isAnswered = true;
    stream.promised = answer.length;
    this.#events.push(`${id} answer ${answer.status}`);
    if (isEnd) this.#onEnd(id, stream, "-");
  }

  #onTrailers(
    id: number,
    stream: Stream,
    { fields, isEnd }: { readonly fields: readonly Field[]; readonly isEnd: boolean },
  ): void {
    if (stream.isEnded || !isEnd) return this.#breakOff(id, stream, false);
    const kind = kindOf(fields);
    if (kind === "limit") {
      this.#events.push(`${id} malformed`);
      return this.#breakOff(id, stream, false);
    }
    const isSound = kind === "sound" && fields.every(([name]) => !name.startsWith(":"));
    if (!isSound || !isOfMessage(fields)) return this.#breakOff(id, stream, true);
    this.#onEnd(id, stream, fields.length === 0 ? "-" : String(fields.length));
  }

  #onEnd(id: number, stream: Stream, trailers: string): void {
    if (stream.promised !== undefined && stream.content < stream.promised) {
      return this.#onWrongLength(id, stream);
    }
    stream.isEnded = true;
    this.#events.push(`${id} end ${stream.content} ${trailers}`);
    if (!stream.isWhole) return;
    stream.closed = "ended";
    this.#events.push(`${id} closed`);
  }

  /** The head was sound: others are not concerned. */
  #onWrongLength(id: number, stream: Stream): void {
    this.#events.push(`${id} malformed`);
    this.#breakOff(id, stream, false);
  }

  #onData(id: number, length: number, isEnd: boolean): void {
    const stream = this.#find(id);
    if (stream !== undefined) {
      stream.taken += length;
      // Windows have their own reader.
      if (stream.taken > 499) throw stop;
    }
    const isOpen = stream !== undefined && !stream.isEnded && stream.isAnswered;
    if (stream?.isEnded === true) this.#breakOff(id, stream, false);
    else if (stream !== undefined && !stream.isAnswered) this.#breakOff(id, stream, true);
    if (isOpen) {
      stream.content += length;
      if (stream.promised !== undefined && stream.content > stream.promised) {
        this.#onWrongLength(id, stream);
      }
    }
    if (!isEnd) {
      if (length === 0 && this.#isEmpty) return this.#end();
      this.#isEmpty = length === 0;
    }
    if (isOpen && isEnd && stream.closed === undefined) this.#onEnd(id, stream, "-");
  }

  #onGoAway(id: number, payload: Buffer): void {
    if (id !== 0 || payload.length < 8) return this.#end();
    const last = payload.readUInt32BE(0) & 0x7fff_ffff;
    for (const [other, stream] of this.#streams) {
      if (other <= last || stream.closed !== undefined) continue;
      this.#breakOff(other, stream, false);
    }
  }
}

interface Answer {
  readonly status: number;
  readonly length: number | undefined;
}

const name = /^:?[!#$%&'*+.^_`|~0-9a-z-]+$/;
const value =
  /^(|[\x21-\x7e\x80-\xff]|[\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])$/;
const hopFields = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

function kindOf(fields: readonly Field[]): "sound" | "limit" | "other" {
  let cost = 0;
  for (const [at, [one, text]] of fields.entries()) {
    if (!name.test(one) || !value.test(text)) return "other";
    cost += one.length + text.length + 32;
    if (cost > 2000 || at === 16) return "limit";
  }
  return "sound";
}

/** No field that speaks of a connection. */
function isOfMessage(fields: readonly Field[]): boolean {
  return fields.every(
    ([one, text]) =>
      !hopFields.includes(one) && (one !== "te" || text.toLowerCase() === "trailers"),
  );
}

function readAnswer(
  fields: readonly Field[],
  isEnd: boolean,
  isHead: boolean,
): Answer | "limit" | undefined {
  const kind = kindOf(fields);
  if (kind !== "sound") return kind === "limit" ? kind : undefined;
  const [first, ...others] = fields;
  if (first?.[0] !== ":status" || !/^[1-9]\d\d$/.test(first[1])) return undefined;
  if (others.some(([one]) => one.startsWith(":")) || !isOfMessage(others)) return undefined;
  const status = Number(first[1]);
  if (status === 101 || (status < 200 && isEnd)) return undefined;
  const lengths = others.filter(([one]) => one === "content-length").map(([, text]) => text);
  if (lengths.length > 1 || !lengths.every((text) => /^(0|[1-9]\d{0,14})$/.test(text))) {
    return undefined;
  }
  const isBodiless = status === 204 || status === 304 || isHead;
  if (status < 200) return { status, length: undefined };
  const promised = lengths.length === 0 ? undefined : Number(lengths[0]);
  if (isBodiless) return { status, length: 0 };
  if (isEnd && promised !== undefined && promised > 0) return undefined;
  return { status, length: isEnd ? 0 : promised };
}
