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

  /** A new request. */
  reset(beginMs: number, headEndMs: number): void {
    this.at.fill(Number.NaN);
    this.at[moment.requestBegin] = beginMs;
    this.at[moment.requestHeadEnd] = headEndMs;
    this.ownMs = 0;
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
    this.at.fill(Number.NaN, moment.attemptBegin, moment.responseBegin);
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
  /** Filters: faults' delays, whoever was asked. */
  "filters",
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

export type Phase = (typeof phases)[number];

/** Milliseconds of each phase, in the order of `phases`; NaN for one that never began. */
export function splitTime({ at }: RequestTimes): number[] {
  const parts = phases.map(() => Number.NaN);
  let cursor = at[moment.requestBegin] ?? Number.NaN;
  let running: Phase = "downstream";
  const grow = (phase: Phase, ms: number): void => {
    const index = phases.indexOf(phase);
    const known = parts[index] ?? Number.NaN;
    parts[index] = (Number.isNaN(known) ? 0 : known) + Math.max(0, ms);
  };
  for (const [phase, until, next] of stepsOf(at)) {
    if (Number.isNaN(until)) continue;
    grow(phase, until - cursor);
    cursor = Math.max(cursor, until);
    running = next;
  }
  const restMs = (at[moment.responseEnd] ?? Number.NaN) - cursor;
  if (restMs > 0) grow(running, restMs);
  return parts;
}

type Step = readonly [phase: Phase, until: number, next: Phase];

/** What ends when, and which phase goes on when nothing ends any more. */
function stepsOf(at: readonly number[]): Step[] {
  const when = (which: Moment): number => at[which] ?? Number.NaN;
  const isOpenedForIt = when(moment.connectBegin) >= when(moment.attemptBegin);
  const answerBegin = when(moment.answerBegin);
  const sendEnd = when(moment.sendEnd);
  const isAnsweredEarly = !(sendEnd <= answerBegin) && !Number.isNaN(answerBegin);
  return [
    ["downstream", when(moment.requestHeadEnd), "filters"],
    ["filters", when(moment.filtersEnd), "retries"],
    ["retries", when(moment.attemptBegin), "pool"],
    ...(isOpenedForIt ? connectSteps(when) : []),
    ["pool", when(moment.sendBegin), "downstream"],
    ["downstream", isAnsweredEarly ? answerBegin : sendEnd, "first_byte"],
    ["first_byte", answerBegin, "last_byte"],
  ];
}

function connectSteps(when: (which: Moment) => number): Step[] {
  return [
    ["pool", when(moment.connectBegin), "connect"],
    ["connect", when(moment.connectEnd), "connect"],
    ["connect", when(moment.handshakeEnd), "connect"],
  ];
}
