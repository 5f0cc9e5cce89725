/**
 * The filter interface between a stream and the HTTP filters before its router. A filter that must
 * wait says so and later calls `resume()`; nothing here is a promise.
 */
import type { CompiledRoute, RouteOutcome } from "../engine/route-table.ts";
import type { FailureKind } from "./failure.ts";
import type { HttpRequest } from "./http-request.ts";
import type { MessageHeaders } from "./message-headers.ts";
import type { StreamRecord } from "./stream-record.ts";

/** `continue`: on to the next filter. `answered`: a reply was sent. `wait`: `resume()` will follow. */
export type FilterVerdict = "continue" | "answered" | "wait";

export interface HttpFilter {
  /** The name it is configured under; routes override it by this name. */
  readonly name: string;
  onRequest(stream: FilterStream): FilterVerdict;
  /** Before the response head is written. */
  readonly onResponse?: (stream: FilterStream) => void;
  /** The stream has ended, however; release what it held. */
  readonly onStreamEnd?: (stream: FilterStream) => void;
}

/** What a filter sees of a stream. */
export interface FilterStream {
  readonly request: HttpRequest;
  readonly responseHeaders: MessageHeaders;
  readonly record: StreamRecord;
  readonly outcome: RouteOutcome;
  /** The matched route's override for a filter. */
  override(filter: string): unknown;
  readonly route: CompiledRoute | undefined;
  readonly random: () => number;
  /** Continues after `wait`, this many milliseconds from now. */
  resumeAfter(delayMs: number): void;
  /** Answers instead of an upstream; `direct` is an answer that is no failure. */
  reply(failure: FailureKind | "direct", changes?: ReplyChanges): void;
  /** What a filter keeps for the stream's life, one slot. */
  filterState: unknown;
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
