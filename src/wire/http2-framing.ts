/**
 * What the fields of an HTTP/2 request mean (RFC 9113 section 8): pseudo-fields become the request line
 * and Host that HTTP/1.1 would have had, cookies become one field, and what would be read otherwise by
 * the next hop, which speaks HTTP/1.1, is malformed. Afterwards the head is like one that
 * `http1-framing.ts` has read.
 */
import { isAuthority } from "./http1-framing.ts";
import { type HeadError, type Http1Head, slotWidth } from "./http1-head.ts";
import { hashName, known, tokenTable } from "./http1-tables.ts";

/** Names of pseudo-fields by their hash; each at most once. */
const pseudoNames = [":method", ":scheme", ":authority", ":path", ":protocol"] as const;
const pseudoHashes: readonly number[] = pseudoNames.map(hashName);
const lengthDigitsMax = 15;
const hostHash = hashName("host");
const chunkedLine = Buffer.from("transfer-encoding: chunked\r\n");
const upgradeName = Buffer.from("upgrade: ");
const upgradeHash = hashName("upgrade");
const lineEnd = Buffer.from("\r\n");
const getBytes = Buffer.from("GET");
const chunkedHash = hashName("transfer-encoding");

/** Places of the pseudo-fields of one head, -1 where there is none; filled again for each. */
class Pseudo {
  readonly places: Int32Array = new Int32Array(pseudoNames.length);
  get method(): number {
    return this.places[0] ?? -1;
  }
  get scheme(): number {
    return this.places[1] ?? -1;
  }
  get authority(): number {
    return this.places[2] ?? -1;
  }
  get path(): number {
    return this.places[3] ?? -1;
  }
  get protocol(): number {
    return this.places[4] ?? -1;
  }
}

const pseudo = new Pseudo();

/**
 * Settles a request's head. `isEnd`: no body follows. The error when it is malformed. CONNECT has an
 * authority only, which becomes its target. Where CONNECT is allowed no body follows it, whatever else
 * does; with `:protocol` it becomes what asks HTTP/1.1 to switch to that (RFC 8441).
 */
export function frameHttp2Request(
  head: Http1Head,
  isEnd: boolean,
  allowsConnect = false,
): HeadError | undefined {
  const error =
    head.error ??
    readPseudo(head) ??
    checkRequest(head, allowsConnect) ??
    readConnectionFields(head) ??
    readLength(head, isEnd);
  if (error !== undefined) return error;
  const isLate = readExpect(head);
  if (isLate !== undefined) return isLate;
  settleHost(head);
  joinCookies(head);
  if (allowsConnect && valueIs(head, pseudo.method, "CONNECT")) {
    if (head.findId(known.contentLength) >= 0) return "invalid-character";
    head.bodyKind = "none";
    if (pseudo.protocol >= 0) askForUpgrade(head);
  }
  if (head.bodyKind === "chunked")
    appendLine(head, chunkedLine, { hash: chunkedHash, id: known.transferEncoding });
  finish(head);
  return undefined;
}

/** As `frameHttp2Request()`, for the fields behind a body. */
export function frameHttp2Trailers(head: Http1Head): HeadError | undefined {
  if (head.error !== undefined) return head.error;
  const { bytes, slots, count } = head;
  for (let field = 0; field < count; field++) {
    if (bytes[slots[field * slotWidth] ?? 0] === 0x3a) return "syntax";
  }
  const error = readConnectionFields(head);
  if (error !== undefined) return error;
  endFields(head);
  head.isComplete = true;
  return undefined;
}

/** Pseudo-fields stand before all others, and none that we do not know. */
function readPseudo(head: Http1Head): HeadError | undefined {
  const { bytes, slots, count } = head;
  pseudo.places.fill(-1);
  let isOver = false;
  for (let field = 0; field < count; field++) {
    if (bytes[slots[field * slotWidth] ?? 0] !== 0x3a) {
      isOver = true;
      continue;
    }
    const which = pseudoHashes.indexOf(head.hashes[field] ?? 0);
    const name = pseudoNames[which];
    if (isOver || name === undefined || !head.isName(field, name)) return "invalid-character";
    if ((pseudo.places[which] ?? -1) >= 0) return "invalid-character";
    pseudo.places[which] = field;
    head.dropped[field] = 1;
  }
  return undefined;
}

function checkRequest(head: Http1Head, allowsConnect: boolean): HeadError | undefined {
  const { method, scheme, authority, path } = pseudo;
  const isExtended = pseudo.protocol >= 0;
  if (isExtended && !(allowsConnect && isToken(head, pseudo.protocol))) return "invalid-character";
  if (method < 0) return "syntax";
  if (!isToken(head, method)) return "invalid-method";
  const isConnect = valueIs(head, method, "CONNECT");
  if (isExtended && !isConnect) return "invalid-character";
  if (isConnect && !isExtended)
    return scheme < 0 && path < 0 && authority >= 0 ? checkHost(head) : "syntax";
  if (scheme < 0 || path < 0) return "syntax";
  if (!head.isValue(scheme, "http") && !head.isValue(scheme, "https")) return "invalid-character";
  if (!isTarget(head, path)) return "invalid-target";
  const first = head.bytes[head.slots[path * slotWidth + 2] ?? 0];
  if (first !== 0x2f && !(valueIs(head, path, "*") && valueIs(head, method, "OPTIONS"))) {
    return "syntax";
  }
  return checkHost(head);
}

/** An authority, or a Host of the same rules; one Host at most. */
function checkHost(head: Http1Head): HeadError | undefined {
  const host = head.findId(known.host);
  if (host >= 0 && head.findId(known.host, host + 1) >= 0) return "host-invalid";
  const field = pseudo.authority >= 0 ? pseudo.authority : host;
  if (field < 0) return "host-missing";
  const start = head.slots[field * slotWidth + 2] ?? 0;
  const end = head.slots[field * slotWidth + 3] ?? 0;
  if (start === end) return "host-invalid";
  return isAuthority(head.bytes, start, end) ? undefined : "host-invalid";
}

/** Fields of a connection are HTTP/1.1's (RFC 9113 section 8.2.2): they would smuggle framing. */
export function readConnectionFields(head: Http1Head): HeadError | undefined {
  const { ids, count } = head;
  for (let field = 0; field < count; field++) {
    switch (ids[field] ?? known.other) {
      case known.connection:
      case known.keepAlive:
      case known.proxyConnection:
      case known.transferEncoding:
      case known.upgrade:
        return "connection-header";
      case known.te:
        head.acceptsTrailers = head.isValue(field, "trailers");
        if (!head.acceptsTrailers) return "connection-header";
        break;
      default:
    }
  }
  return undefined;
}

function readLength(head: Http1Head, isEnd: boolean): HeadError | undefined {
  const field = head.findId(known.contentLength);
  head.bodyKind = isEnd ? "none" : "chunked";
  if (field < 0) return undefined;
  if (head.findId(known.contentLength, field + 1) >= 0) return "invalid-character";
  const value = decimalOf(head, field);
  if (value < 0) return "invalid-character";
  if (isEnd && value > 0) return "syntax";
  head.bodyLength = value;
  if (!isEnd) head.bodyKind = "length";
  return undefined;
}

/** Digits without sign, list or leading zero; -1 for everything else. */
export function decimalOf(head: Http1Head, field: number): number {
  const start = head.slots[field * slotWidth + 2] ?? 0;
  const end = head.slots[field * slotWidth + 3] ?? 0;
  const digits = end - start;
  if (digits === 0 || digits > lengthDigitsMax) return -1;
  if (digits > 1 && head.bytes[start] === 0x30) return -1;
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = (head.bytes[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function readExpect(head: Http1Head): HeadError | undefined {
  let field = head.findId(known.expect);
  if (field < 0) return undefined;
  for (; field >= 0; field = head.findId(known.expect, field + 1)) {
    if (!head.isValue(field, "100-continue")) return "expectation";
  }
  head.expectsContinue = head.bodyKind !== "none";
  head.dropId(known.expect);
  return undefined;
}

/** The authority becomes Host, whatever Host said: its line is shortened to end in that name. */
function settleHost(head: Http1Head): void {
  const field = pseudo.authority;
  if (field < 0) return;
  head.dropId(known.host);
  const slot = field * slotWidth;
  const nameEnd = head.slots[slot + 1] ?? 0;
  head.bytes.write("host", nameEnd - 4, "latin1");
  head.slots[slot] = nameEnd - 4;
  head.hashes[field] = hostHash;
  head.ids[field] = known.host;
  head.dropped[field] = 0;
}

/** Crumbs become one field (RFC 9113 section 8.2.3), for hops that know one only. */
function joinCookies(head: Http1Head): void {
  const first = head.findId(known.cookie);
  if (first < 0 || head.findId(known.cookie, first + 1) < 0) return;
  const values: string[] = [];
  for (let field = first; field >= 0; field = head.findId(known.cookie, field + 1)) {
    values.push(head.valueAt(field));
  }
  head.dropId(known.cookie);
  const line = Buffer.from(`cookie: ${values.join("; ")}\r\n`, "latin1");
  appendLine(head, line, { hash: hashName("cookie"), id: known.cookie });
}

/** As HTTP/1.1 asks for another protocol: Upgrade, and GET. */
function askForUpgrade(head: Http1Head): void {
  const slot = pseudo.protocol * slotWidth;
  const protocol = head.bytes.subarray(head.slots[slot + 2] ?? 0, head.slots[slot + 3] ?? 0);
  const line = Buffer.concat([upgradeName, protocol, lineEnd]);
  appendLine(head, line, { hash: upgradeHash, id: known.upgrade });
  head.hasUpgrade = true;
}

function appendLine(
  head: Http1Head,
  line: Buffer,
  name: { readonly hash: number; readonly id: number },
): void {
  const start = head.length;
  if (start + line.length > head.bytes.length) head.growBytes(start + line.length);
  line.copy(head.bytes, start);
  const field = head.count;
  if (field === head.ids.length) head.growFields();
  const nameEnd = start + line.indexOf(0x3a);
  const slot = field * slotWidth;
  head.slots[slot] = start;
  head.slots[slot + 1] = nameEnd;
  head.slots[slot + 2] = nameEnd + 2;
  head.slots[slot + 3] = start + line.length - 2;
  head.hashes[field] = name.hash;
  head.ids[field] = name.id;
  head.dropped[field] = 0;
  head.count = field + 1;
  head.length = start + line.length;
}

/** The empty line, with which a head's length ends. */
export function endFields(head: Http1Head): void {
  if (head.length + 2 > head.bytes.length) head.growBytes(head.length + 2);
  head.bytes[head.length] = 0x0d;
  head.bytes[head.length + 1] = 0x0a;
  head.length += 2;
}

/** Method and target as they stand in a request line, behind all fields. */
function finish(head: Http1Head): void {
  endFields(head);
  const { method, path, authority } = pseudo;
  const target = path >= 0 ? path : authority;
  const { slots } = head;
  const methodStart = slots[method * slotWidth + 2] ?? 0;
  const isUpgrade = head.hasUpgrade;
  const methodBytes = isUpgrade
    ? getBytes.length
    : (slots[method * slotWidth + 3] ?? 0) - methodStart;
  const targetStart = slots[target * slotWidth + 2] ?? 0;
  const targetBytes = (slots[target * slotWidth + 3] ?? 0) - targetStart;
  const at = head.length;
  const end = at + methodBytes + 1 + targetBytes;
  if (end > head.bytes.length) head.growBytes(end);
  if (isUpgrade) getBytes.copy(head.bytes, at);
  else head.bytes.copyWithin(at, methodStart, methodStart + methodBytes);
  head.bytes[at + methodBytes] = 0x20;
  head.bytes.copyWithin(at + methodBytes + 1, targetStart, targetStart + targetBytes);
  head.lineStart = at;
  head.methodEnd = at + methodBytes;
  head.targetEnd = end;
  head.minorVersion = 1;
  head.isHttp2 = true;
  head.isStartLineRead = true;
  head.isComplete = true;
}

function isToken(head: Http1Head, field: number): boolean {
  const start = head.slots[field * slotWidth + 2] ?? 0;
  const end = head.slots[field * slotWidth + 3] ?? 0;
  for (let at = start; at < end; at++) if (tokenTable[head.bytes[at] ?? 0] === 0) return false;
  return end > start;
}

/**
 * What may stand in a request line. Fragments and bytes above ASCII, too: no reader sees another
 * message for them, and whoever serves the request answers for them.
 */
function isTarget(head: Http1Head, field: number): boolean {
  const start = head.slots[field * slotWidth + 2] ?? 0;
  const end = head.slots[field * slotWidth + 3] ?? 0;
  for (let at = start; at < end; at++) {
    const byte = head.bytes[at] ?? 0;
    if (byte <= 0x20 || byte === 0x7f) return false;
  }
  return end > start;
}

function valueIs(head: Http1Head, field: number, text: string): boolean {
  const start = head.slots[field * slotWidth + 2] ?? 0;
  if ((head.slots[field * slotWidth + 3] ?? 0) - start !== text.length) return false;
  for (let at = 0; at < text.length; at++) {
    if (head.bytes[start + at] !== text.charCodeAt(at)) return false;
  }
  return true;
}
