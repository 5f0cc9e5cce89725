/**
 * When things happened to a request, and whose its milliseconds were. The data plane writes moments
 * (monotonic milliseconds) into one array per stream while they happen; access logs, spans and tap
 * read differences. A moment that never came is NaN.
 */

/** Where each moment stands in the array. Names that Envoy has mean what they mean there. */
export const moment = {
  /** Downstream: first byte of the request, end of its head, end of its body. */
  requestBegin: 0,
  requestHeadEnd: 1,
  requestEnd: 2,
  /** Filters and route have decided. */
  filtersEnd: 3,
  /** The last attempt began: an endpoint is chosen, a connection is asked for. */
  attemptBegin: 4,
  /** Of the connection that carried the last attempt; before this request, where it was reused. */
  connectBegin: 5,
  connectEnd: 6,
  handshakeEnd: 7,
  /** Upstream: request sent from, to; answer's first byte, first byte of its body, end. */
  sendBegin: 8,
  sendEnd: 9,
  answerBegin: 10,
  answerBodyBegin: 11,
  answerEnd: 12,
  /** Downstream: answer sent from, to. */
  responseBegin: 13,
  responseEnd: 14,
} as const;

export type Moment = (typeof moment)[keyof typeof moment];

const unknown: readonly number[] = Object.keys(moment).map(() => Number.NaN);

export class RequestTimes {
  /** A plain array: V8 keeps its numbers side by side, and it costs a connection less to make. */
  readonly at: number[] = unknown.slice();
  /**
   * Milliseconds in which the proxy itself worked on the request: from bytes read to bytes written.
   * Waiting for clients, filters, connections and upstreams is not in it.
   */
  ownMs = 0;
  /** In which somebody was asked whether the request may pass. */
  #authorizationMs = 0;
  /** When the question was put that has no answer yet. */
  #askedMs = Number.NaN;

  /** A new request. */
  reset(beginMs: number, headEndMs: number): void {
    this.#forget(0, this.at.length);
    this.at[moment.requestBegin] = beginMs;
    this.at[moment.requestHeadEnd] = headEndMs;
    this.ownMs = 0;
    this.#authorizationMs = 0;
    this.#askedMs = Number.NaN;
  }

  /** Whether the request may pass is asked elsewhere. */
  beginAuthorization(ms: number): void {
    this.#askedMs = ms;
  }

  endAuthorization(ms: number): void {
    if (!Number.isNaN(this.#askedMs)) this.#authorizationMs += ms - this.#askedMs;
    this.#askedMs = Number.NaN;
  }

  /** `endMs`: of the request, which may have ended without an answer to the question. */
  authorizationMs(endMs: number): number {
    const openMs = endMs - this.#askedMs;
    return this.#authorizationMs + (openMs > 0 ? openMs : 0);
  }

  /** For a dozen numbers `fill()`, a call into C++, takes longer. */
  #forget(from: number, to: number): void {
    const { at } = this;
    for (let index = from; index < to; index++) at[index] = Number.NaN;
  }

  set(which: Moment, ms: number): void {
    this.at[which] = ms;
  }

  /** Only the first time counts. */
  setOnce(which: Moment, ms: number): void {
    if (Number.isNaN(this.at[which])) this.at[which] = ms;
  }

  /** An attempt begins: what the one before it did is forgotten. */
  beginAttempt(ms: number): void {
    this.#forget(moment.attemptBegin, moment.responseBegin);
    this.at[moment.attemptBegin] = ms;
  }
}

/**
 * The parts of a request's time, in the order in which they follow each other. Together they are the
 * whole time.
 */
export const phases = [
  /** The client sent its request: the head, and the body as far as the upstream waited for it. */
  "downstream",
  /** Filters: faults' delays, bodies that are awaited. */
  "filters",
  /** Somebody was asked whether the request may pass, or for the keys of its token. */
  "authorization",
  /** Attempts before the last one, and the pauses after them. */
  "retries",
  /** No connection was free, and none was being opened for it. */
  "pool",
  /** A connection was opened, TLS included. */
  "connect",
  /** The upstream had the whole request and had not begun to answer. */
  "first_byte",
  /** From the first byte of its answer to the last one sent to the client. */
  "last_byte",
] as const;

const phase = {
  downstream: phases.indexOf("downstream"),
  filters: phases.indexOf("filters"),
  authorization: phases.indexOf("authorization"),
  retries: phases.indexOf("retries"),
  pool: phases.indexOf("pool"),
  connect: phases.indexOf("connect"),
  firstByte: phases.indexOf("first_byte"),
  lastByte: phases.indexOf("last_byte"),
} as const;

/** Milliseconds of each phase, in the order of `phases`; NaN for one that never began. */
export function splitTime(times: RequestTimes): number[] {
  return new TimeSplit().of(times).slice();
}

/** `splitTime()` for whoever asks often: the numbers stand in one array, until the next request's. */
export class TimeSplit {
  readonly #parts: number[] = phases.map(() => Number.NaN);
  #cursorMs = 0;
  #running = 0;

  of(times: RequestTimes): readonly number[] {
    const { at } = times;
    const when = (which: Moment): number => at[which] ?? Number.NaN;
    const answerBegin = when(moment.answerBegin);
    const sendEnd = when(moment.sendEnd);
    const isAnsweredEarly = !(sendEnd <= answerBegin) && !Number.isNaN(answerBegin);
    this.#parts.fill(Number.NaN);
    this.#cursorMs = when(moment.requestBegin);
    this.#running = phase.downstream;
    this.#step(phase.downstream, when(moment.requestHeadEnd), phase.filters);
    this.#step(phase.filters, when(moment.filtersEnd), phase.retries);
    this.#step(phase.retries, when(moment.attemptBegin), phase.pool);
    if (when(moment.connectBegin) >= when(moment.attemptBegin)) {
      this.#step(phase.pool, when(moment.connectBegin), phase.connect);
      this.#step(phase.connect, when(moment.connectEnd), phase.connect);
      this.#step(phase.connect, when(moment.handshakeEnd), phase.connect);
    }
    this.#step(phase.pool, when(moment.sendBegin), phase.downstream);
    this.#step(phase.downstream, isAnsweredEarly ? answerBegin : sendEnd, phase.firstByte);
    this.#step(phase.firstByte, answerBegin, phase.lastByte);
    const restMs = when(moment.responseEnd) - this.#cursorMs;
    if (restMs > 0) this.#grow(this.#running, restMs);
    this.#tellAuthorization(times.authorizationMs(when(moment.responseEnd)));
    return this.#parts;
  }

  /** It is asked for by filters, so it is part of their time. */
  #tellAuthorization(ms: number): void {
    if (!(ms > 0)) return;
    const filtersMs = this.#parts[phase.filters] ?? 0;
    const partMs = Math.min(ms, filtersMs);
    this.#parts[phase.authorization] = partMs;
    this.#parts[phase.filters] = filtersMs - partMs;
  }

  /** `which` ends at `untilMs`, and `next` goes on when nothing ends any more; NaN: it never ended. */
  #step(which: number, untilMs: number, next: number): void {
    if (Number.isNaN(untilMs)) return;
    this.#grow(which, untilMs - this.#cursorMs);
    this.#cursorMs = Math.max(this.#cursorMs, untilMs);
    this.#running = next;
  }

  #grow(which: number, ms: number): void {
    const known = this.#parts[which] ?? Number.NaN;
    this.#parts[which] = (Number.isNaN(known) ? 0 : known) + Math.max(0, ms);
  }
}
