/** Operators about time: when, and how long between which moments (`request-times.ts`). */
import type { RequestRecord } from "../request-record.ts";
import { type Moment, moment, phases, TimeSplit } from "../request-times.ts";
import type { Operator, OperatorMaker } from "./operator.ts";

/** Names of `%COMMON_DURATION%`; Envoy takes those of ours for time points that nobody set. */
const momentNames: { readonly [name: string]: Moment } = {
  DS_RX_BEG: moment.requestBegin,
  DS_RX_HDR_END: moment.requestHeadEnd,
  DS_RX_END: moment.requestEnd,
  US_CX_BEG: moment.connectBegin,
  US_CX_END: moment.connectEnd,
  US_HS_END: moment.handshakeEnd,
  US_TX_BEG: moment.sendBegin,
  US_TX_END: moment.sendEnd,
  US_RX_BEG: moment.answerBegin,
  US_RX_BODY_BEG: moment.answerBodyBegin,
  US_RX_END: moment.answerEnd,
  DS_TX_BEG: moment.responseBegin,
  DS_TX_END: moment.responseEnd,
  HEDDLE_FILTERS_END: moment.filtersEnd,
  HEDDLE_ATTEMPT_BEG: moment.attemptBegin,
};

const unitsPerMs: { readonly [unit: string]: number } = { ms: 1, us: 1000, ns: 1_000_000 };

/** Whole units between two moments; undefined where one of them never came. */
function between(from: Moment, until: Moment, perMs = 1): Operator {
  return ({ times }) => {
    if (times === undefined) return undefined;
    const ms = (times.at[until] ?? Number.NaN) - (times.at[from] ?? Number.NaN);
    // What was over before the other began (the opening of a reused connection) has no duration.
    return ms >= 0 ? Math.floor(ms * perMs) : undefined;
  };
}

function commonDuration(argument: string): Operator | string {
  const [from = "", until = "", unit = "ms", ...rest] = argument.split(":");
  const perMs = ownEntry(unitsPerMs, unit);
  if (from === "" || until === "" || perMs === undefined || rest.length > 0) {
    return "needs START:END:ms, :us or :ns";
  }
  const begin = ownEntry(momentNames, from);
  const end = ownEntry(momentNames, until);
  if (begin === undefined || end === undefined) {
    return `names the time point ${begin === undefined ? from : until}, which nothing sets`;
  }
  return between(begin, end, perMs);
}

const split = new TimeSplit();

/** A phase of `splitTime()`, or `overhead`: what the proxy itself worked. */
function heddleDuration(argument: string): Operator | string {
  const [phase = "", unit = "ms", ...rest] = argument.split(":");
  const perMs = ownEntry(unitsPerMs, unit);
  if (perMs === undefined || rest.length > 0) return "needs PHASE:ms, :us or :ns";
  if (phase === "overhead") {
    return ({ times }) => (times === undefined ? undefined : Math.floor(times.ownMs * perMs));
  }
  const index = phases.findIndex((known) => known === phase);
  if (index < 0) return `knows no phase ${phase}; there are: ${phases.join(" ")} overhead`;
  return ({ times }) => {
    const ms = times === undefined ? Number.NaN : (split.of(times)[index] ?? Number.NaN);
    return Number.isNaN(ms) ? undefined : Math.floor(ms * perMs);
  };
}

function ownEntry<Value>(
  table: { readonly [name: string]: Value },
  name: string,
): Value | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

type DateOf = (record: RequestRecord) => Date;

type DateIfAny = (record: RequestRecord) => Date | undefined;

const startOf: DateOf = (record) => new Date(record.startMs);
/** Entries are made at the end. */
const emitOf: DateOf = (record) => new Date(record.startMs + record.durationMs);

/** `%s`, `%3f`, `%Y` and their like, of a moment that need not be there; in UTC. */
export function dateFormatMaker(dateOf: DateIfAny): OperatorMaker {
  return timeOperator(dateOf, false);
}

/** What is not known of a format is refused. */
function timeOperator(dateOf: DateIfAny, isLocal: boolean): OperatorMaker {
  return (format) => {
    const parts: ((at: Date) => string)[] = [];
    for (const [piece] of format.matchAll(/%\d?[a-zA-Z%]|[^%]+|%/g)) {
      const field = timeField(piece);
      if (field !== undefined) parts.push(field);
      else if (piece.startsWith("%")) return `has the unknown time field ${piece}`;
      else parts.push(() => piece);
    }
    return (record) => {
      const at = dateOf(record);
      if (at === undefined) return undefined;
      const shown = isLocal ? asIfUtc(at) : at;
      const zone = isLocal ? zoneOf(at) : "+0000";
      let text = "";
      for (const part of parts) text += part(shown);
      return text.replaceAll(zoneMark, zone);
    };
  };
}

/** The same numbers on the clock face, read as if they were UTC's. */
function asIfUtc(at: Date): Date {
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
}

function zoneOf(at: Date): string {
  const minutes = -at.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}${two(size % 60)}`;
}

const two = (value: number): string => String(value).padStart(2, "0");
const days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const zoneMark = "\u0000zone\u0000";

function timeField(piece: string): ((at: Date) => string) | undefined {
  const digits = /^%([1-9])f$/.exec(piece)?.[1];
  if (digits !== undefined || piece === "%f") {
    const count = Number(digits ?? 9);
    return (at) =>
      `${String(at.getUTCMilliseconds()).padStart(3, "0")}000000`
        .slice(0, count)
        .padEnd(count, "0");
  }
  return ownEntry(timeFields, piece);
}

const timeFields: { readonly [piece: string]: (at: Date) => string } = {
  "%Y": (at) => String(at.getUTCFullYear()),
  "%y": (at) => two(at.getUTCFullYear() % 100),
  "%m": (at) => two(at.getUTCMonth() + 1),
  "%b": (at) => months[at.getUTCMonth()] ?? "",
  "%d": (at) => two(at.getUTCDate()),
  "%e": (at) => String(at.getUTCDate()).padStart(2, " "),
  "%a": (at) => days[at.getUTCDay()] ?? "",
  "%H": (at) => two(at.getUTCHours()),
  "%M": (at) => two(at.getUTCMinutes()),
  "%S": (at) => two(at.getUTCSeconds()),
  "%E3S": (at) => at.toISOString().slice(17, 23),
  "%F": (at) => at.toISOString().slice(0, 10),
  "%T": (at) => at.toISOString().slice(11, 19),
  "%s": (at) => String(Math.floor(at.getTime() / 1000)),
  "%z": () => zoneMark,
  "%Z": () => "UTC",
  "%%": () => "%",
};

let lastTimeMs = Number.NaN;
let lastTime = "";

/** Many requests start in the same millisecond. */
function isoTime(ms: number): string {
  const wholeMs = Math.floor(ms);
  if (wholeMs !== lastTimeMs) {
    lastTime = new Date(wholeMs).toISOString();
    lastTimeMs = wholeMs;
  }
  return lastTime;
}

function localIso(dateOf: DateOf): Operator {
  return (record) => {
    const at = dateOf(record);
    return asIfUtc(at).toISOString().slice(0, -1) + zoneOf(at);
  };
}

export const timeOperators: { readonly [name: string]: Operator } = {
  START_TIME: (record) => isoTime(record.startMs),
  START_TIME_LOCAL: localIso(startOf),
  EMIT_TIME: (record) => new Date(record.startMs + record.durationMs).toISOString(),
  EMIT_TIME_LOCAL: localIso(emitOf),
  DURATION: (record) => Math.floor(record.durationMs),
  REQUEST_DURATION: between(moment.requestBegin, moment.requestEnd),
  REQUEST_TX_DURATION: between(moment.requestBegin, moment.sendEnd),
  RESPONSE_DURATION: between(moment.requestBegin, moment.answerBegin),
  RESPONSE_TX_DURATION: between(moment.answerBegin, moment.responseEnd),
  UPSTREAM_CONNECTION_POOL_READY_DURATION: between(moment.attemptBegin, moment.sendBegin),
  // Of HTTP/3 alone.
  ROUNDTRIP_DURATION: () => undefined,
};

export const timeOperatorMakers: { readonly [name: string]: OperatorMaker } = {
  COMMON_DURATION: commonDuration,
  HEDDLE_DURATION: heddleDuration,
  START_TIME: timeOperator(startOf, false),
  START_TIME_LOCAL: timeOperator(startOf, true),
  EMIT_TIME: timeOperator(emitOf, false),
  EMIT_TIME_LOCAL: timeOperator(emitOf, true),
};
