/**
 * What the fields of a head mean for the connection: where the body ends, whether the connection
 * goes on, which fields are for this hop only. RFC 9112 sections 3, 6 and 9, read strictly: a message
 * whose length two readers could see differently is refused (RFC 9112 section 11.2).
 */
import type { HeadError, Http1Head } from "./http1-head.ts";
import { slotWidth } from "./http1-head.ts";
import { authorityTable, known } from "./http1-tables.ts";

/** Fields that a `Connection` field cannot take away, because later hops decide by them. */
const protectedNames: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "date",
  "forwarded",
  "proxy-authorization",
  "server",
  "set-cookie",
  "traceparent",
  "tracestate",
  "via",
]);
const protectedPrefixes = ["x-forwarded-", "x-envoy-", "x-b3-", "x-request-id", "b3"] as const;
/** Naming one of these is an attempt to change how the message is read. */
const forbiddenNominations: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "content-type",
]);
/** A client that names one of these would rather not be known; Envoy refuses it, too. */
const forbiddenToClients: ReadonlySet<string> = new Set([
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
]);
/** Names in all `Connection` fields of a message: each is looked for among all fields. Envoy's, and generous. */
const nominatedMax = { request: 9, response: 99, trailers: 0 } as const;

/** Longest decimal that is exact in a number with room to add. */
const lengthDigitsMax = 15;

/**
 * Reads the framing of a complete request head into it and drops the fields of this hop. The error
 * when the request must be refused. `isHttp10Allowed`: the caller serves HTTP/1.0.
 */
export function frameRequest(head: Http1Head): HeadError | undefined {
  const hostError = checkHost(head);
  if (hostError !== undefined) return hostError;
  const lengthError = readLength(head);
  if (lengthError !== undefined) return lengthError;
  if (head.bodyKind === "chunked" && head.minorVersion === 0) {
    return "transfer-encoding-not-allowed";
  }
  let expect = head.findId(known.expect);
  if (expect >= 0) {
    for (; expect >= 0; expect = head.findId(known.expect, expect + 1)) {
      if (!head.isValue(expect, "100-continue")) return "expectation";
    }
    head.expectsContinue = head.minorVersion === 1 && head.bodyKind !== "none";
    head.dropId(known.expect);
  }
  return readConnection(head);
}

/**
 * As `frameRequest()`, for the answer to a request. `isHeadRequest`: it was HEAD, so no body follows
 * whatever the fields say.
 */
export function frameResponse(head: Http1Head, isHeadRequest: boolean): HeadError | undefined {
  const { status } = head;
  const lengthError = readLength(head);
  if (lengthError !== undefined) return lengthError;
  if (head.bodyKind === "chunked" && head.minorVersion === 0) {
    return "transfer-encoding-not-allowed";
  }
  const hasLength = head.findId(known.contentLength) >= 0;
  if (status < 200 || status === 204 || status === 304 || isHeadRequest) {
    if (status === 204 || status < 200) head.dropId(known.contentLength);
    head.bodyKind = "none";
    head.bodyLength = 0;
  } else if (head.bodyKind === "none" && !hasLength) {
    head.bodyKind = "until-close";
  }
  const error = readConnection(head);
  if (head.bodyKind === "until-close") head.isKeepAlive = false;
  return error;
}

/** Exactly one Host; RFC 9112 section 3.2 leaves HTTP/1.0 without one to the caller. */
function checkHost(head: Http1Head): HeadError | undefined {
  const field = head.findId(known.host);
  if (field < 0) return head.minorVersion === 1 ? "host-missing" : undefined;
  if (head.findId(known.host, field + 1) >= 0) return "host-invalid";
  const at = field * slotWidth;
  const start = head.slots[at + 2] ?? 0;
  const end = head.slots[at + 3] ?? 0;
  if (start === end) return "host-missing";
  return isAuthority(head.bytes, start, end) ? undefined : "host-invalid";
}

/** `host[:port]`, without user information. Brackets only around an IPv6 address. */
export function isAuthority(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  let hostEnd = end;
  if (bytes[start] === 0x5b) {
    at++;
    while (at < end && isAddressByte(bytes[at] ?? 0)) at++;
    if (at === end || bytes[at] !== 0x5d || at === start + 1) return false;
    hostEnd = ++at;
  } else {
    for (; at < end; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === 0x3a) break;
      if (authorityTable[byte] !== 1 || byte === 0x5b || byte === 0x5d || byte === 0x2c) {
        return false;
      }
    }
    if (at === start) return false;
    hostEnd = at;
  }
  if (hostEnd === end) return true;
  if (bytes[hostEnd] !== 0x3a || end - hostEnd > 6) return false;
  for (at = hostEnd + 1; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte < 0x30 || byte > 0x39) return false;
  }
  return true;
}

function isAddressByte(byte: number): boolean {
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x3a) || (lower >= 0x61 && lower <= 0x66) || byte === 0x2e;
}

function readLength(head: Http1Head): HeadError | undefined {
  const length = head.findId(known.contentLength);
  const encoding = head.findId(known.transferEncoding);
  if (encoding >= 0) {
    if (length >= 0) {
      if (!head.forgivesLength) return "content-length-and-chunked";
      head.dropId(known.contentLength);
    }
    if (head.findId(known.transferEncoding, encoding + 1) >= 0) return "transfer-encoding";
    if (!head.isValue(encoding, "chunked")) return encodingError(head.valueAt(encoding));
    head.bodyKind = "chunked";
    restate(head, encoding);
    return undefined;
  }
  if (length < 0) return undefined;
  if (head.findId(known.contentLength, length + 1) >= 0) return "content-length";
  const value = decimal(head, length);
  if (value < 0) return "content-length";
  head.bodyLength = value;
  head.bodyKind = value === 0 ? "none" : "length";
  restate(head, length);
  return undefined;
}

/**
 * One space before the value and none behind it, or the field is written anew: readers differ on
 * whether a tab belongs to a value, and here that decides where the message ends.
 */
function restate(head: Http1Head, field: number): void {
  const { bytes, slots } = head;
  const at = field * slotWidth;
  const afterColon = (slots[at + 1] ?? 0) + 1;
  const isPlain =
    slots[at + 2] === afterColon + 1 &&
    bytes[afterColon] === 0x20 &&
    bytes[slots[at + 3] ?? 0] === 0x0d;
  if (!isPlain) head.restatedField = field;
}

/** A list of known shape with another coding is one we do not serve; anything else is malformed. */
function encodingError(value: string): HeadError {
  return /^[a-z-]+$/i.test(value) ? "transfer-encoding-unknown" : "transfer-encoding";
}

/** Digits without sign, list or leading zero; -1 for everything else. */
function decimal(head: Http1Head, field: number): number {
  const at = field * slotWidth;
  const start = head.slots[at + 2] ?? 0;
  const end = head.slots[at + 3] ?? 0;
  const digits = end - start;
  if (digits === 0 || digits > lengthDigitsMax) return -1;
  if (digits > 1 && head.bytes[start] === 0x30) return -1;
  let value = 0;
  for (let index = start; index < end; index++) {
    const digit = (head.bytes[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Persistence, upgrade and nominated fields; drops what belongs to this hop. */
function readConnection(head: Http1Head): HeadError | undefined {
  head.isKeepAlive = head.minorVersion === 1;
  let isUpgradeNominated = false;
  // Once said, in whichever field, it holds (RFC 9112 section 9.3).
  let isClose = false;
  let left: number = nominatedMax[head.kind];
  let field = 0;
  const { ids, count } = head;
  for (field = 0; field < count; field++) {
    const id = ids[field] ?? 0;
    if (id === known.other || id > known.proxyConnection || head.dropped[field] !== 0) continue;
    if (id === known.connection) {
      head.dropped[field] = 1;
      left--;
      if (head.isValue(field, "keep-alive")) head.isKeepAlive = true;
      else if (head.isValue(field, "close")) isClose = true;
      else {
        const nominated = nominate(head, field, left + 1);
        if (nominated === undefined) return "connection-header";
        left -= nominated.count - 1;
        isUpgradeNominated ||= nominated.isUpgrade;
        isClose ||= nominated.isClose;
      }
      if (left < 0) return "connection-header";
    } else if (id === known.keepAlive || id === known.proxyConnection) {
      head.dropped[field] = 1;
      if (id === known.keepAlive) head.keepAliveSeconds = keepAliveTimeout(head, field);
    } else if (id === known.te) {
      // Only `trailers` may pass a hop, and only to say that trailers are understood.
      head.acceptsTrailers = head.isValue(field, "trailers");
      if (!head.acceptsTrailers) head.dropped[field] = 1;
    }
  }
  if (isClose) head.isKeepAlive = false;
  head.hasUpgrade =
    isUpgradeNominated && head.minorVersion === 1 && head.findId(known.upgrade) >= 0;
  return undefined;
}

const timeoutParameter = "timeout=";

/** Seconds of `Keep-Alive: timeout=5, max=100`; 0 without a timeout, or with one nobody means. */
function keepAliveTimeout(head: Http1Head, field: number): number {
  const { bytes, slots } = head;
  const end = slots[field * slotWidth + 3] ?? 0;
  let at = slots[field * slotWidth + 2] ?? 0;
  while (at < end) {
    let matched = 0;
    while (
      matched < timeoutParameter.length &&
      at + matched < end &&
      ((bytes[at + matched] ?? 0) | 0x20) === (timeoutParameter.charCodeAt(matched) | 0x20)
    ) {
      matched++;
    }
    if (matched === timeoutParameter.length) return secondsAt(bytes, at + matched, end);
    while (at < end && bytes[at] !== 0x2c) at++;
    while (at < end && (bytes[at] === 0x2c || bytes[at] === 0x20)) at++;
  }
  return 0;
}

function secondsAt(bytes: Uint8Array, from: number, end: number): number {
  let seconds = 0;
  for (let at = from; at < end && at < from + 6; at++) {
    const digit = (bytes[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return seconds;
    seconds = seconds * 10 + digit;
  }
  return seconds;
}

interface Nominated {
  readonly count: number;
  readonly isUpgrade: boolean;
  readonly isClose: boolean;
}

/** Drops what one field nominates; undefined when it must not be nominated, or is more than `most`. */
function nominate(head: Http1Head, field: number, most: number): Nominated | undefined {
  let isUpgrade = false;
  let isClose = false;
  const parts = head.valueAt(field).toLowerCase().split(",").filter(isSomething);
  if (parts.length > most) return undefined;
  for (const part of parts) {
    const token = withoutOuterBlanks(part);
    if (token === "close") isClose = true;
    else if (token === "keep-alive") head.isKeepAlive = true;
    else if (token === "upgrade") isUpgrade = true;
    else if (isForbidden(token, head)) return undefined;
    else if (!keptNominations.has(token) && !isProtected(token)) head.dropStrangeName(token);
  }
  return { count: parts.length, isUpgrade, isClose };
}

function isSomething(part: string): boolean {
  return part !== "";
}

function isForbidden(token: string, { kind }: Http1Head): boolean {
  if (forbiddenNominations.has(token) || token.startsWith(":")) return true;
  return kind === "request" && forbiddenToClients.has(token);
}

/**
 * Not `trim()`: bytes above 0x7f are part of a token that nobody knows, not white space. Nor a regular expression: one
 * for blanks at the end looks at each run of blanks from each of its places.
 */
function withoutOuterBlanks(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isBlank(text, start)) start++;
  while (start < end && isBlank(text, end - 1)) end--;
  return text.slice(start, end);
}

function isBlank(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit === 0x20 || unit === 0x09;
}

/** Nothing, and what is looked at in its own right. */
const keptNominations: ReadonlySet<string> = new Set(["", "te", "connection"]);

function isProtected(name: string): boolean {
  return protectedNames.has(name) || protectedPrefixes.some((prefix) => name.startsWith(prefix));
}
