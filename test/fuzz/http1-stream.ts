/** Reads a stream of messages with the codec, piece by piece, and writes it anew. */
import { HeadSpelling } from "../../src/wire/header-case.ts";
import { BodyReader, bodyStep } from "../../src/wire/http1-body.ts";
import { frameRequest, frameResponse } from "../../src/wire/http1-framing.ts";
import { type HeadError, Http1Head } from "../../src/wire/http1-head.ts";
import { feedHead } from "../../src/wire/http1-parser.ts";
import { dropForbiddenTrailers, Http1Writer } from "../../src/wire/http1-writer.ts";
import type { Reading, ReadMessage, StreamRules } from "./http1-reference.ts";

/** Errors of one meaning, told apart for people only. */
const malformed: ReadonlySet<HeadError> = new Set<HeadError>([
  "syntax",
  "invalid-character",
  "invalid-method",
  "invalid-target",
  "version",
]);

export interface CodecReading extends Reading {
  /** The whole messages, as they would go on. */
  readonly written: readonly Buffer[];
}

export class StreamReader {
  readonly #rules: StreamRules;
  readonly #head: Http1Head;
  readonly #body: BodyReader;
  readonly #writer = new Http1Writer();
  readonly #messages: ReadMessage[] = [];
  readonly #written: Buffer[] = [];
  #isBody = false;
  #end = "incomplete";
  #isUpgraded = false;

  constructor(rules: StreamRules, head: Http1Head) {
    this.#rules = rules;
    this.#head = head;
    this.#body = new BodyReader(rules);
    head.spelling ??= new HeadSpelling("lower");
    head.reset(rules.kind);
  }

  /** Gives it `chunk[from, …)`; false when it wants no more. */
  feed(chunk: Buffer, from: number): boolean {
    let at = from;
    while (at < chunk.length && this.#end === "incomplete" && !this.#isUpgraded) {
      const before = at;
      at = this.#isBody ? this.#feedBody(chunk, at) : this.#feedHead(chunk, at);
      if (at < before || at > chunk.length) throw new Error(`goes from ${before} to ${at}`);
    }
    return this.#end === "incomplete" && !this.#isUpgraded;
  }

  /** The peer has closed. */
  finish(): void {
    if (!this.#isBody) return;
    const isUntilClose = this.#body.kind === "until-close";
    if (this.#body.finish() !== isUntilClose) throw new Error("finish() is wrong about the body");
  }

  get reading(): CodecReading {
    return { messages: this.#messages, end: this.#end, written: this.#written };
  }

  #feedHead(chunk: Buffer, from: number): number {
    const head = this.#head;
    const at = from + feedHead(head, chunk, from, this.#rules);
    if (head.bytes.length > 2 * (this.#rules.headBytesMax + 2048)) throw new Error("takes memory");
    if (head.error !== undefined) return this.#refuse(head.error, at);
    if (!head.isComplete) return at;
    const isRequest = this.#rules.kind === "request";
    const error = isRequest ? frameRequest(head) : frameResponse(head, this.#rules.isHead);
    if (error !== undefined) return this.#refuse(error, at);
    const method = head.text(head.lineStart, head.methodEnd);
    const target = head.text(head.methodEnd + 1, head.targetEnd);
    const start = isRequest ? `${method} ${target}` : String(head.status);
    const framing = head.bodyKind === "length" ? `length ${head.bodyLength}` : head.bodyKind;
    this.#messages.push({
      start,
      minorVersion: head.minorVersion,
      fields: fieldsOf(head),
      framing,
      isKeepAlive: head.isKeepAlive,
      keepAliveSeconds: head.keepAliveSeconds,
      content: "",
      trailers: [],
      isWhole: false,
    });
    checkLookups(head);
    checkCopy(head);
    this.#writeHead(start);
    this.#body.start(head.bodyKind, head.bodyLength);
    this.#isBody = true;
    if (head.bodyKind === "none") this.#finish();
    return at;
  }

  #refuse(error: HeadError, at: number): number {
    this.#end = malformed.has(error) ? "malformed" : error;
    return at;
  }

  #feedBody(chunk: Buffer, from: number): number {
    const body = this.#body;
    const step = body.next(chunk, from);
    const message = this.#messages.at(-1);
    if (message === undefined) throw new Error("a body without a head");
    if (step === bodyStep.error) {
      const { error } = body;
      this.#end = error === undefined || malformed.has(error) ? "malformed" : error;
    }
    if (step === bodyStep.content) {
      message.content += chunk.toString("latin1", body.dataStart, body.dataEnd);
      if (body.kind === "length") this.#writer.bytes(chunk, body.dataStart, body.dataEnd);
      else this.#writer.chunk(chunk, body.dataStart, body.dataEnd);
      if (body.kind === "length" && body.isEnded) this.#finish();
    }
    if (step === bodyStep.end) {
      message.trailers = body.trailers === undefined ? [] : fieldsOf(body.trailers);
      if (body.trailers !== undefined) dropForbiddenTrailers(body.trailers);
      this.#writer.lastChunk(body.trailers);
      this.#finish();
    }
    return body.position;
  }

  #writeHead(start: string): void {
    const { kind } = this.#rules;
    this.#writer.text(kind === "request" ? `${start} HTTP/1.1\r\n` : `HTTP/1.1 ${start} x\r\n`);
    this.#writer.fields(this.#head);
    this.#writer.field("x-written", "yes");
    this.#writer.lineEnd();
  }

  #finish(): void {
    const message = this.#messages.at(-1);
    if (message !== undefined) message.isWhole = true;
    this.#written.push(Buffer.from(this.#writer.take()));
    this.#isUpgraded = this.#rules.kind === "response" && this.#head.status === 101;
    this.#isBody = false;
    this.#head.reset(this.#rules.kind);
  }
}

/** What is found by name is what a walk through all fields finds. */
function checkLookups(head: Http1Head): void {
  const fields = fieldsOf(head).map((field) => field.split(": ", 1)[0] ?? "");
  for (const name of new Set([...fields.slice(0, 3), "x-absent"])) {
    const values = fields.flatMap((one, index) => (one === name ? [valueOf(head, index)] : []));
    const joined = values.length === 0 ? undefined : values.join(",");
    if (head.joined(name) !== joined) throw new Error(`joined(${name}) is wrong`);
    if (head.findName(name) >= 0 !== values.length > 0) throw new Error(`findName(${name})`);
    const isSpelled = head.spelled(name)?.toLowerCase() === name;
    if (values.length > 0 && !isSpelled) throw new Error(`spelled(${name}) is wrong`);
  }
}

const copy = new Http1Head();

/** A copy says the same, in memory that other heads have used, or that was given back. */
function checkCopy(head: Http1Head): void {
  copy.copyFrom(head);
  const fields = copy.textFields().map(([name, value]) => `${name}: ${value}`);
  if (fields.join() !== fieldsOf(head).join()) throw new Error("a copy has other fields");
  if (copy.hasFields !== fields.length > 0) throw new Error("a copy forgets its fields");
  if (copy.text(copy.lineStart, copy.targetEnd) !== head.text(head.lineStart, head.targetEnd)) {
    throw new Error("a copy has another first line");
  }
  if (copy.bodyKind !== head.bodyKind || copy.bodyLength !== head.bodyLength) {
    throw new Error("a copy means something else");
  }
  copy.trim();
}

/** The value of the field that stands at `index` among those that are kept. */
function valueOf(head: Http1Head, index: number): string {
  let left = index;
  for (let field = 0; field < head.count; field++) {
    if (head.dropped[field] === 0 && left-- === 0) return head.valueAt(field);
  }
  return "";
}

function fieldsOf(head: Http1Head): readonly string[] {
  const fields: string[] = [];
  for (let field = 0; field < head.count; field++) {
    if (head.dropped[field] !== 0) continue;
    fields.push(`${head.nameAt(field)}: ${head.valueAt(field)}`);
  }
  return fields;
}
