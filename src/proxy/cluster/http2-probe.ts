/**
 * A health check over HTTP/2: a connection of its own, and one stream after another on it. What is
 * asked, and what an answer means, is the question's business (`http2HttpQuestion()`, `grpc-probe.ts`).
 */
import type { Channel, ChannelHandler } from "../../net/channel.ts";
import { defaultHeadLimits, Http1Head } from "../../wire/http1-head.ts";
import { defaultFloodLimits } from "../../wire/http2-floods.ts";
import { FrameMemory } from "../../wire/http2-frame-memory.ts";
import { errorCode, initialWindow } from "../../wire/http2-frames.ts";
import { type ClientHandler, Http2Session, type Http2Settings } from "../../wire/http2-session.ts";
import type { Http2Stream, StreamOwner } from "../../wire/http2-stream.ts";
import { writeFields } from "../http2/fields.ts";
import type { HttpProbePlan } from "./health-plan.ts";
import { dialProbe, type Probe, type ProbeOwner, type ProbeParts } from "./health-probe.ts";
import { type HttpQuestion, judgeAnswer, KeptContent, questionOf } from "./http-question.ts";

export interface Http2Question extends HttpQuestion {
  readonly method: string;
  readonly path: string;
  readonly body: Uint8Array | undefined;
  /** After no answer in time its stream alone is broken off. */
  readonly keepsConnection: boolean;
  readonly answer: AnswerReader;
}

/** Where true is returned, what the answer means is known, and nobody waits for the rest. */
export interface AnswerReader {
  onHead(head: Http1Head): boolean;
  onContent(content: Buffer): boolean;
  judge(head: Http1Head, trailers: Http1Head | undefined, owner: ProbeOwner): void;
}

/** Answers to checks are short. */
const settings: Http2Settings = {
  maxConcurrentStreams: 1,
  streamWindow: initialWindow,
  connectionWindow: initialWindow,
  tableBytes: 4096,
  limits: defaultHeadLimits,
  floods: defaultFloodLimits,
};

/** Connections of checks gather what they send for a moment only. */
const memory = new FrameMemory();

export function http2HttpQuestion(plan: HttpProbePlan, { target }: ProbeParts): Http2Question {
  const { method, path, body } = plan;
  const question = questionOf(plan, target);
  if (body !== undefined) question.headers.set("content-length", String(body.length));
  const kept = new KeptContent(plan);
  return {
    ...question,
    method,
    path,
    body,
    keepsConnection: false,
    answer: {
      onHead: () => false,
      onContent(content) {
        kept.add(content);
        return false;
      },
      judge: (head, _trailers, owner) => judgeAnswer(plan, head, kept.take(), owner),
    },
  };
}

export class Http2ProbeConnection implements Probe, ChannelHandler, ClientHandler {
  readonly #parts: ProbeParts;
  readonly #makeQuestion: () => Http2Question;
  readonly #onOver: () => void;
  readonly #session: Http2Session;
  #channel: Channel | undefined;
  #isConnected = false;
  /** Asked, and not sent yet. */
  #isAsked = false;
  #stream: ProbeStream | undefined;
  /** The server takes no stream after this one. */
  #isLeaving = false;
  #isOver = false;

  constructor(parts: ProbeParts, makeQuestion: () => Http2Question, onOver: () => void) {
    this.#parts = parts;
    this.#makeQuestion = makeQuestion;
    this.#onOver = onOver;
    const send = (bytes: Buffer, length: number): boolean =>
      this.#channel?.writeShared(bytes, length) !== false;
    this.#session = new Http2Session(settings, { side: "client", memory, send, handler: this });
  }

  ask(): void {
    this.#isAsked = true;
    if (this.#isConnected) return this.#send();
    this.#channel ??= dialProbe(this.#parts, this, (channel) => {
      this.#channel = channel;
      this.#isConnected = true;
      this.#session.start();
      this.#send();
    });
  }

  #send(): void {
    const { streams, sender } = this.#session;
    if (this.#isAsked && streams.open.size < streams.peer.maxStreams) {
      this.#isAsked = false;
      const question = this.#makeQuestion();
      this.#stream = new ProbeStream(this, question.answer);
      this.#stream.keepsConnection = question.keepsConnection;
      this.#write(question, streams.beginOwn(this.#stream, question.method === "HEAD"));
    }
    sender.flush();
  }

  #write(question: Http2Question, stream: Http2Stream): void {
    const { method, scheme, authority, path, headers, body } = question;
    const { sender } = this.#session;
    const { encoder } = sender;
    const writer = sender.beginHead(stream.id);
    encoder.field(writer, ":method", method);
    encoder.field(writer, ":scheme", scheme);
    encoder.field(writer, ":authority", authority);
    encoder.field(writer, ":path", path);
    writeFields(encoder, writer, headers);
    sender.endHead(stream, body === undefined);
    if (body !== undefined) sender.lastContent(stream, body, 0, body.length);
  }

  /** `isWhole`: it has ended by itself. */
  onAnswer(stream: ProbeStream, trailers: Http1Head | undefined): void {
    if (this.#stream !== stream) return;
    this.#leave(stream);
    const { owner, plan } = this.#parts;
    if (!plan.reusesConnections || this.#isLeaving) this.close();
    stream.answer.judge(stream.head, trailers, owner);
  }

  /** Its stream, and perhaps that alone, is gone. */
  onBroken(stream: ProbeStream): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    const { owner, plan } = this.#parts;
    if (!plan.reusesConnections || this.#isLeaving) this.close();
    owner.onFail("network", false);
  }

  #leave({ wire, isWhole }: ProbeStream): void {
    this.#stream = undefined;
    if (wire === undefined || (isWhole && wire.isLocalEnded)) return;
    this.#session.streams.breakOff(wire, isWhole ? errorCode.none : errorCode.cancel);
    this.#session.sender.flush();
  }

  onData(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#session.receive(chunk, this.#parts.nowMs());
    if (!this.#isOver) this.#session.sender.flush();
  }

  onMalformed(): boolean {
    return false;
  }

  onStreamError(): void {}

  onError(): void {
    this.#session.sender.flush();
    this.#lose();
  }

  onPingAck(): void {}

  onPeerSettings(): void {
    if (this.#isAsked) this.#send();
  }

  /** A server that is about to end may answer first what it was asked. */
  onGoAway(code: number): void {
    this.#isLeaving = true;
    if (this.#stream === undefined || code !== errorCode.none) this.#lose();
  }

  onEnd(): void {
    this.#channel?.destroy();
  }

  onDrain(): void {
    if (this.#isOver) return;
    this.#session.streams.onDrain();
    this.#session.sender.flush();
  }

  onClose(): void {
    this.#lose();
  }

  #lose(): void {
    if (this.#isOver) return;
    const isAwaited = this.#isAsked || this.#stream !== undefined;
    this.close();
    if (isAwaited) this.#parts.owner.onFail("network", false);
  }

  giveUp(): void {
    const stream = this.#stream;
    const isKept = stream?.keepsConnection === true && this.#parts.plan.reusesConnections;
    if (stream === undefined || !isKept || this.#isLeaving) return this.close();
    this.#leave(stream);
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stream = undefined;
    this.#session.isEnded = true;
    this.#session.sender.close();
    this.#onOver();
    this.#channel?.destroy();
  }
}

class ProbeStream implements StreamOwner {
  readonly head: Http1Head = new Http1Head();
  readonly trailers: Http1Head = new Http1Head();
  readonly answer: AnswerReader;
  keepsConnection = false;
  wire: Http2Stream | undefined;
  /** The server has said all it will. */
  isWhole = false;
  readonly #connection: Http2ProbeConnection;

  constructor(connection: Http2ProbeConnection, answer: AnswerReader) {
    this.#connection = connection;
    this.answer = answer;
  }

  onOpened(stream: Http2Stream): void {
    this.wire = stream;
  }

  onHead(): void {
    if (this.answer.onHead(this.head)) this.#connection.onAnswer(this, undefined);
  }

  onData(chunk: Buffer, from: number, to: number): void {
    if (this.answer.onContent(chunk.subarray(from, to))) this.#connection.onAnswer(this, undefined);
  }

  onEnd(trailers: Http1Head | undefined): void {
    this.isWhole = true;
    this.#connection.onAnswer(this, trailers);
  }

  onRoom(): void {}

  onMalformed(): void {}

  onReset(): void {
    this.#connection.onBroken(this);
  }

  onClosed(): void {}
}
