/**
 * Reads HTTP/1.1 message heads and trailers: sans I/O, strict, a line at a time. Lenient nowhere: a
 * bare CR or LF, a folded line, white space before a colon or a control character end the message,
 * because two readers that disagree about such bytes can be played against each other (request
 * smuggling). The meaning of fields is left to `http1-framing.ts`.
 */
import type { HeadError, HeadLimits } from "./http1-head.ts";
import { Http1Head, slotWidth } from "./http1-head.ts";
import { knownId, methodTable, targetTable, tokenTable, valueTable } from "./http1-tables.ts";

const cr = 0x0d;
const lf = 0x0a;
const space = 0x20;
const tab = 0x09;
const colon = 0x3a;

const methodBytesMax = 64;
/** Lines up to this are simply read again when more of them arrives. */
const longLineBytes = 256;

/**
 * Gives a head the bytes `chunk[from, …)`. Returns how many of them belong to it. Afterwards the head
 * is complete, or has an error, or wants more (and has taken everything).
 */
export function feedHead(
  head: Http1Head,
  chunk: Uint8Array,
  from: number,
  limits: HeadLimits,
): number {
  let taken = from;
  for (;;) {
    const before = head.length;
    let room = head.bytes.length - before;
    if (room === 0) {
      head.growBytes(before + 1);
      room = head.bytes.length - before;
    }
    const step = Math.min(room, chunk.length - taken, limits.headBytesMax + 1 - before);
    append(head, chunk, taken, step);
    const received = before + step;
    taken += step;
    parse(head, received, limits);
    // The empty line may have been the byte that is looked at beyond the limit.
    if (head.isComplete && head.parsePosition <= limits.headBytesMax) {
      head.length = head.parsePosition;
      return taken - (received - head.parsePosition) - from;
    }
    if (head.error !== undefined) return taken - from;
    if (received > limits.headBytesMax) {
      head.isComplete = false;
      head.error = "head-too-large";
      return taken - from;
    }
    if (taken === chunk.length) return taken - from;
  }
}

/** Appends `step` bytes; short runs are copied by hand, which is cheaper than a call. */
function append(head: Http1Head, source: Uint8Array, from: number, step: number): void {
  const { bytes, length } = head;
  head.spelling?.keep(length, source, from, step);
  if (step < 48) {
    for (let index = 0; index < step; index++) bytes[length + index] = source[from + index] ?? 0;
  } else {
    bytes.set(
      from === 0 && step === source.length ? source : source.subarray(from, from + step),
      length,
    );
  }
  head.length = length + step;
}

/** Reads whole lines of `head.bytes[parsePosition, end)`. */
function parse(head: Http1Head, end: number, limits: HeadLimits): void {
  const read = head.scannedTo - head.parsePosition;
  if (read > longLineBytes && !hasControl(head, end)) return;
  if (!head.isStartLineRead) {
    const next = head.kind === "request" ? requestLine(head, end) : statusLine(head, end);
    if (next < 0) {
      head.scannedTo = end;
      return;
    }
    head.isStartLineRead = true;
    head.parsePosition = next;
  }
  fieldLines(head, end, limits);
}

/**
 * A long line that arrives in small pieces is read once, not once per piece: it cannot end, nor most
 * of what is forbidden stand in it, without a control character among the new bytes.
 */
function hasControl(head: Http1Head, end: number): boolean {
  const { bytes } = head;
  // The last byte may have been a CR, whose LF is what is new.
  for (let at = head.scannedTo - 1; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte < 0x20 || byte === 0x7f) return true;
  }
  head.scannedTo = end;
  return false;
}

function fail(head: Http1Head, error: HeadError): number {
  head.error = error;
  return -1;
}

/** Returns where the next line starts; -1 when incomplete or in error. */
function requestLine(head: Http1Head, end: number): number {
  const bytes = head.bytes;
  let at = head.lineStart;
  // RFC 9112 section 2.2: an empty line before the request line is ignored. One; more is noise.
  if (at === 0 && end > 0 && bytes[0] === cr) {
    if (end < 2) return -1;
    if (bytes[1] !== lf) return fail(head, "syntax");
    head.lineStart = 2;
    at = 2;
  }
  const start = at;
  while (at < end && methodTable[bytes[at] ?? 0] === 1) at++;
  if (at - start > methodBytesMax) return fail(head, "invalid-method");
  if (at === end) return -1;
  if (at === start || bytes[at] !== space) return fail(head, "invalid-method");
  head.methodEnd = at++;
  while (at < end && targetTable[bytes[at] ?? 0] === 1) at++;
  if (at === end) return -1;
  if (at === head.methodEnd + 1 || bytes[at] !== space) return fail(head, "invalid-target");
  head.targetEnd = at++;
  return version(head, at, end, cr) < 0 ? -1 : lineEnd(head, at + 8, end);
}

/** Checks `HTTP/1.x` at `at`, followed by `next`; returns -1 when incomplete or in error. */
function version(head: Http1Head, at: number, end: number, next: number): number {
  const bytes = head.bytes;
  const expected = "HTTP/1.";
  for (let index = 0; index < 7; index++) {
    if (at + index === end) return -1;
    if (bytes[at + index] !== expected.charCodeAt(index)) return fail(head, "version");
  }
  if (at + 7 === end) return -1;
  const minor = bytes[at + 7];
  if (minor !== 0x31 && minor !== 0x30) return fail(head, "version");
  head.minorVersion = minor - 0x30;
  if (at + 8 === end) return -1;
  return bytes[at + 8] === next ? at + 8 : fail(head, "version");
}

function lineEnd(head: Http1Head, at: number, end: number): number {
  if (at + 1 >= end) return -1;
  if (head.bytes[at] !== cr || head.bytes[at + 1] !== lf) return fail(head, "syntax");
  return at + 2;
}

function statusLine(head: Http1Head, end: number): number {
  const bytes = head.bytes;
  let at = version(head, 0, end, space);
  if (at < 0) return -1;
  at++;
  let status = 0;
  for (let digit = 0; digit < 3; digit++, at++) {
    if (at === end) return -1;
    const value = (bytes[at] ?? 0) - 0x30;
    if (value < 0 || value > 9) return fail(head, "syntax");
    status = status * 10 + value;
  }
  if (status < 100) return fail(head, "syntax");
  head.status = status;
  if (at === end) return -1;
  // The space before an empty reason is often left out; no reader sees another message for it.
  if (bytes[at] === space) at++;
  else if (bytes[at] !== cr) return fail(head, "syntax");
  head.reasonStart = at;
  while (at < end && valueTable[bytes[at] ?? 0] === 1) at++;
  head.reasonEnd = at;
  if (at === end) return -1;
  if (bytes[at] !== cr) return fail(head, "invalid-character");
  return lineEnd(head, at, end);
}

/** Reads field lines up to the empty one; sets `isComplete`, or an error, or waits for more. */
function fieldLines(head: Http1Head, end: number, limits: HeadLimits): void {
  const bytes = head.bytes;
  for (;;) {
    const start = head.parsePosition;
    if (start === end) return;
    if (bytes[start] === cr) {
      if (start + 1 === end) return;
      if (bytes[start + 1] !== lf) {
        head.error = "syntax";
        return;
      }
      head.parsePosition = start + 2;
      head.isComplete = true;
      return;
    }
    const next = fieldLine(head, start, end, limits);
    if (next < 0) {
      head.scannedTo = end;
      return;
    }
    head.parsePosition = next;
  }
}

function fieldLine(head: Http1Head, start: number, end: number, limits: HeadLimits): number {
  const bytes = head.bytes;
  let at = start;
  let hash = 0;
  for (; at < end; at++) {
    const byte = bytes[at] ?? 0;
    const lower = tokenTable[byte] ?? 0;
    if (lower === 0) break;
    if (lower !== byte) bytes[at] = lower;
    hash = (Math.imul(hash, 31) + lower) | 0;
  }
  if (at === end) return -1;
  if (at === start || bytes[at] !== colon) return fail(head, nameError(bytes[at] ?? 0));
  const nameEnd = at++;
  while (at < end && (bytes[at] === space || bytes[at] === tab)) at++;
  const valueStart = at;
  while (at < end && valueTable[bytes[at] ?? 0] === 1) at++;
  if (at === end) return -1;
  if (bytes[at] !== cr) return fail(head, "invalid-character");
  if (at + 1 === end) return -1;
  if (bytes[at + 1] !== lf) return fail(head, "invalid-character");
  let valueEnd = at;
  while (valueEnd > valueStart && isBlank(bytes[valueEnd - 1] ?? 0)) valueEnd--;
  const field = head.count;
  if (field === limits.fieldsMax) return fail(head, "too-many-fields");
  if (field === head.ids.length) head.growFields();
  head.count = field + 1;
  head.hashes[field] = hash;
  head.ids[field] = knownId(hash, bytes, start, nameEnd);
  head.dropped[field] = 0;
  const slots = head.slots;
  const slot = field * slotWidth;
  slots[slot] = start;
  slots[slot + 1] = nameEnd;
  slots[slot + 2] = valueStart;
  slots[slot + 3] = valueEnd;
  return at + 2;
}

function nameError(byte: number): HeadError {
  return byte === space || byte === tab || byte === lf || byte === colon
    ? "syntax"
    : "invalid-character";
}

function isBlank(byte: number): boolean {
  return byte === space || byte === tab;
}
