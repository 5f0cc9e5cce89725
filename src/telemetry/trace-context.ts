/**
 * Trace context between processes: W3C Trace Context level 1 (`traceparent`, `tracestate`) and B3,
 * single and multiple headers. Reading is strict: what is malformed starts a new trace, as the
 * specifications demand. Whether a trace is sampled at random is the caller's decision.
 */
export interface TraceContext {
  /** 32 lower-case hexadecimal digits. */
  readonly traceId: string;
  /** 16 lower-case hexadecimal digits: the caller's span, the parent of ours. */
  readonly spanId: string;
  /** Undefined when the caller left the decision to us (B3 only). */
  readonly isSampled: boolean | undefined;
  readonly tracestate: string | undefined;
}

/** Looks a request header up by its lower-case name; repeated headers are joined with commas. */
export type HeaderLookup = (name: string) => string | undefined;

/** The caller's context: W3C first, then B3 single, then B3 multiple; undefined without a valid one. */
export function parseTraceContext(header: HeaderLookup): TraceContext | undefined {
  const traceparent = header("traceparent");
  if (traceparent !== undefined) {
    const parsed = parseTraceparent(traceparent);
    if (parsed !== undefined) {
      return { ...parsed, tracestate: parseTracestate(header("tracestate")) };
    }
  }
  const single = header("b3");
  return single === undefined ? parseB3Multiple(header) : parseB3Single(single);
}

/**
 * What a caller without a valid context has decided about sampling all the same: B3 allows the
 * decision alone (`b3: 0`, `x-b3-sampled: 0`). Undefined where it is left to us.
 */
export function parseTraceDecision(header: HeaderLookup): boolean | undefined {
  const single = header("b3")?.trim();
  if (single !== undefined && decisions.has(single)) return decisions.get(single);
  if (header("x-b3-flags")?.trim() === "1") return true;
  return decisions.get(header("x-b3-sampled")?.trim() ?? "");
}

/** `d` is B3's debug: sampled, and more. */
const decisions: ReadonlyMap<string, boolean> = new Map([
  ["0", false],
  ["1", true],
  ["d", true],
  ["false", false],
  ["true", true],
]);

const hex = /^[0-9a-f]+$/;
const zeros = /^0+$/;

function isId(text: string | undefined, length: number): text is string {
  return text !== undefined && text.length === length && hex.test(text) && !zeros.test(text);
}

/** `version-traceid-parentid-flags`; versions after 00 may carry more fields, ff is forbidden. */
export function parseTraceparent(text: string): TraceContext | undefined {
  return parseUsual(text) ?? parseAny(text);
}

/** As nearly all are: `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits. Without patterns or parts. */
function parseUsual(text: string): TraceContext | undefined {
  if (text.length !== 55 || !text.startsWith("00-")) return undefined;
  if (text.charCodeAt(35) !== dash || text.charCodeAt(52) !== dash) return undefined;
  if (!isIdAt(text, 3, 35) || !isIdAt(text, 36, 52)) return undefined;
  const high = digitAt(text, 53);
  const low = digitAt(text, 54);
  if (high < 0 || low < 0) return undefined;
  return {
    traceId: text.slice(3, 35),
    spanId: text.slice(36, 52),
    isSampled: (low & 1) === 1,
    tracestate: undefined,
  };
}

const dash = 0x2d;

/** Lower-case hexadecimal digits, not all of them zeros. */
function isIdAt(text: string, from: number, to: number): boolean {
  let any = 0;
  for (let at = from; at < to; at++) {
    const digit = digitAt(text, at);
    if (digit < 0) return false;
    any |= digit;
  }
  return any !== 0;
}

/** -1 where there is none. */
function digitAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
  return unit >= 0x61 && unit <= 0x66 ? unit - 0x57 : -1;
}

function parseAny(text: string): TraceContext | undefined {
  const [version, traceId, spanId, flags, ...rest] = text.trim().split("-");
  if (version?.length !== 2 || !hex.test(version) || version === "ff") return undefined;
  if (version === "00" && rest.length > 0) return undefined;
  if (!isId(traceId, 32) || !isId(spanId, 16)) return undefined;
  if (flags?.length !== 2 || !hex.test(flags)) return undefined;
  const isSampled = (Number.parseInt(flags, 16) & 1) === 1;
  return { traceId, spanId, isSampled, tracestate: undefined };
}

const tracestateMember =
  /^(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;

/** Passed on as it came when valid (at most 32 members, 512 characters); dropped otherwise. */
function parseTracestate(text: string | undefined): string | undefined {
  if (text === undefined || text.length > 512) return undefined;
  const members = text
    .split(",")
    .map((member) => member.trim())
    .filter((member) => member !== "");
  if (members.length === 0 || members.length > 32) return undefined;
  const keys = new Set(members.map((member) => member.slice(0, member.indexOf("="))));
  if (keys.size !== members.length) return undefined;
  return members.every((member) => tracestateMember.test(member)) ? members.join(",") : undefined;
}

/** `traceid-spanid[-sampled[-parentspanid]]`; a lone decision (`0`) has no ids and is not a context. */
export function parseB3Single(text: string): TraceContext | undefined {
  const [traceId, spanId, sampled, parentId, ...rest] = text.trim().split("-");
  const padded = padTraceId(traceId);
  if (padded === undefined || !isId(spanId, 16) || rest.length > 0) return undefined;
  if (parentId !== undefined && !isId(parentId, 16)) return undefined;
  if (sampled !== undefined && !/^[01d]$/.test(sampled)) return undefined;
  const isSampled = sampled === undefined ? undefined : sampled !== "0";
  return { traceId: padded, spanId, isSampled, tracestate: undefined };
}

function parseB3Multiple(header: HeaderLookup): TraceContext | undefined {
  const traceId = padTraceId(header("x-b3-traceid"));
  const spanId = header("x-b3-spanid");
  if (traceId === undefined || !isId(spanId, 16)) return undefined;
  const sampled = header("x-b3-flags") === "1" ? "1" : header("x-b3-sampled");
  if (sampled !== undefined && !/^(?:[01]|true|false)$/.test(sampled)) return undefined;
  const isSampled = sampled === undefined ? undefined : sampled === "1" || sampled === "true";
  return { traceId, spanId, isSampled, tracestate: undefined };
}

/** B3 allows 64-bit trace ids; they are padded on the left as OpenTelemetry does. */
function padTraceId(text: string | undefined): string | undefined {
  const padded = text?.length === 16 ? `0000000000000000${text}` : text;
  return isId(padded, 32) ? padded : undefined;
}

/** What the proxy decided about one request, to be told to the next hop. */
export interface OutgoingTrace {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

export function formatTraceparent({ traceId, spanId, isSampled }: OutgoingTrace): string {
  return `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`;
}

export function formatB3Single({ traceId, spanId, isSampled }: OutgoingTrace): string {
  return `${traceId}-${spanId}-${isSampled ? "1" : "0"}`;
}

/**
 * Id of the span towards the upstream, below that of the request itself: it follows from the
 * request's, so that a stream need not keep two.
 */
export function upstreamSpanId(spanId: string): string {
  const last = Number.parseInt(spanId.slice(-8), 16);
  // Never zero: the upper half stays as it was drawn, and an id of zeros would be no id.
  const flipped = (last ^ 0xffff_ffff) >>> 0;
  const id = spanId.slice(0, -8) + flipped.toString(16).padStart(8, "0");
  return /^0+$/.test(id) ? `${id.slice(0, -1)}1` : id;
}
