/**
 * The filter interface between a stream and the HTTP filters before its router. A filter that must
 * wait says so and later calls `resume()` with the ticket of its pause; nothing here is a promise.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import type { Preparation } from "../preparation.ts";
import type { CompiledRoute, RouteOutcome } from "../engine/route-table.ts";
import type { FailureKind } from "./failure.ts";
import type { HttpRequest } from "./http-request.ts";
import type { MessageHeaders } from "./message-headers.ts";
import type { RequestBody } from "./request-body.ts";
import type { StreamRecord } from "./stream-record.ts";

/** `continue`: on to the next filter. `answered`: a reply was sent. `wait`: `resume()` will follow. */
export type FilterVerdict = "continue" | "answered" | "wait";

/** Names one pause of one stream: it is good for that one alone, and once. */
export type PauseTicket = number;

/** Told while its filter waits for the body of the request. */
export interface BodyReader {
  /** More of it is there (`requestBody`), or its end has come. */
  onRequestBody(stream: FilterStream): void;
}

export interface HttpFilter {
  /** The name it is configured under; routes override it by this name. */
  readonly name: string;
  onRequest(stream: FilterStream): FilterVerdict;
  /** Before the response head is written. */
  readonly onResponse?: (stream: FilterStream) => void;
  /** Where there are any; on the way to the endpoint, once for each attempt. */
  readonly onRequestTrailers?: (stream: FilterStream, trailers: MessageHeaders) => void;
  readonly onResponseTrailers?: (stream: FilterStream, trailers: MessageHeaders) => void;
  /** The stream has ended, however; release what it held. */
  readonly onStreamEnd?: (stream: FilterStream) => void;
  /** What it does ahead of requests. */
  readonly preparation?: Preparation | undefined;
}

/** What a filter sees of a stream. */
export interface FilterStream {
  readonly request: HttpRequest;
  readonly responseHeaders: MessageHeaders;
  readonly record: StreamRecord;
  readonly outcome: RouteOutcome;
  /** Protocol of an accepted Upgrade, in lower case; empty for an ordinary request. */
  readonly upgrade: string;
  /** The matched route's override for a filter. */
  override(filter: string): unknown;
  readonly route: CompiledRoute | undefined;
  readonly random: () => number;
  /** What the route depends on has changed: it is looked up again, for this filter's successors. */
  refreshRoute(): void;
  readonly pauses: StreamPauses;
  /** What has come of the body, and whether that is all. */
  readonly requestBody: ReceivedBody;
  readonly answer: AnswerPace;
  /** Answers instead of an upstream; `direct` is an answer that is no failure. */
  reply(failure: FailureKind | "direct", changes?: ReplyChanges): void;
  /** Set, for the stream's life, by a filter whose bodies are others than those of the protocol behind it. */
  coder: BodyCoder | undefined;
  readonly isActive: boolean;
  readonly body: RequestBody;
  /** The answer's head has left, or is about to. */
  readonly isResponseStarted: boolean;
  /** Bytes of the body as the endpoint gets them. */
  passBody(chunk: Buffer, from: number, to: number): void;
  /** The answer broke off. */
  breakResponse(details: string): void;
}

/** How fast an answer leaves. */
export interface AnswerPace {
  /** Its body: no faster than this. */
  throttle(bytesPerSecond: number): void;
}

/** What a filter does that answers `wait`. */
export interface StreamPauses {
  /** Continues after `wait`, this many milliseconds from now. */
  resumeAfter(delayMs: number): void;
  /** Of a filter that is about to answer `wait`. */
  pause(): PauseTicket;
  /** Whether that pause is still on: the stream is this one, and nobody else has ended it. */
  isPaused(ticket: PauseTicket): boolean;
  /** On to the next filter, if that pause is still on; false, and nothing happens, where it is not. */
  resume(ticket: PauseTicket): boolean;
  /**
   * Until the pause ends the body is kept, at least `bytes` of it, and its reader is told of it. A
   * client that waits for leave to send it gets it.
   */
  readBody(reader: BodyReader, bytes: number): void;
}

/**
 * Stands between what a client and its endpoint say, from the moment a filter has set it: for protocols
 * that differ in their bodies. It passes on what it makes of them (`passBody()`).
 */
export interface BodyCoder {
  onRequestBody(chunk: Buffer, from: number, to: number): void;
  /** The request has ended; true where it cannot end so, and was answered. */
  refusesEnd(): boolean;
  /** An endpoint's answer begins. True: its head waits until all of it is there. */
  beginAnswer(head: Http1Head): boolean;
  /** What the client gets for a piece of the answer. */
  encode(chunk: Buffer, from: number, to: number): Buffer;
  /** What it gets behind the last piece; edits the head of an answer that waited. */
  endAnswer(trailers: Http1Head | undefined): Buffer;
  /** The body of an answer of the proxy's own, as it leaves; edits its head. */
  ownAnswer(status: number, body: string): string;
}

export interface ReceivedBody {
  readonly pieces: readonly Buffer[];
  readonly bytes: number;
  readonly isComplete: boolean;
}

export interface ReplyChanges {
  readonly status?: number;
  readonly grpcStatus?: number;
  readonly body?: string;
  readonly details?: string;
  /** A direct answer that a gRPC caller gets in its own terms. */
  readonly speaksGrpc?: boolean;
  readonly headers?: readonly (readonly [name: string, value: string])[];
}
