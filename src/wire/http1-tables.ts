/**
 * Byte classes of HTTP/1.1 (RFC 9110 section 5.6, RFC 9112) and the header names worth knowing by
 * number. Tables have 256 entries, so that a byte decides with one load.
 */

/** The lower-case byte where a byte may stand in a token (field name), 0 elsewhere. */
export const tokenTable: Uint8Array = new Uint8Array(256);
/** 1 where a byte may stand in a method: token characters, but no lower-case letters. */
export const methodTable: Uint8Array = new Uint8Array(256);
/** 1 where a byte may stand in a request target: visible ASCII but `#`. */
export const targetTable: Uint8Array = new Uint8Array(256);
/** 1 where a byte may stand in a field value: visible ASCII, space, tab and bytes above 0x7f. */
export const valueTable: Uint8Array = new Uint8Array(256);
/** 1 where a byte may stand in an authority: unreserved, sub-delims, `%`, `:`, `[`, `]`. */
export const authorityTable: Uint8Array = new Uint8Array(256);
/** The value of a hexadecimal digit, 255 elsewhere. */
export const hexTable: Uint8Array = new Uint8Array(256).fill(255);

const tokenPunctuation = "!#$%&'*+-.^_`|~";

for (let byte = 0; byte < 256; byte++) {
  const character = String.fromCharCode(byte);
  const isUpper = byte >= 0x41 && byte <= 0x5a;
  const isLower = byte >= 0x61 && byte <= 0x7a;
  const isDigit = byte >= 0x30 && byte <= 0x39;
  const isAlphanumeric = isUpper || isLower || isDigit;
  if (isAlphanumeric || tokenPunctuation.includes(character)) {
    tokenTable[byte] = isUpper ? byte | 0x20 : byte;
    if (!isLower) methodTable[byte] = 1;
  }
  if (byte > 0x20 && byte < 0x7f && character !== "#") targetTable[byte] = 1;
  if (byte === 0x09 || (byte >= 0x20 && byte !== 0x7f)) valueTable[byte] = 1;
  if (isAlphanumeric || (byte !== 0 && "-._~!$&'()*+,;=%:[]".includes(character))) {
    authorityTable[byte] = 1;
  }
  if (isDigit) hexTable[byte] = byte - 0x30;
  else if ((isUpper || isLower) && (byte | 0x20) <= 0x66) hexTable[byte] = (byte | 0x20) - 0x57;
}

/** Numbers of header names that the proxy itself asks for; 0 is every other name. */
export const known = {
  other: 0,
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  keepAlive: 5,
  upgrade: 6,
  te: 7,
  trailer: 8,
  expect: 9,
  proxyConnection: 10,
  requestId: 11,
  forwardedFor: 12,
  forwardedProto: 13,
  server: 14,
  date: 15,
  traceparent: 16,
  envoyExpectedTimeout: 17,
  envoyUpstreamServiceTime: 18,
  contentType: 19,
  proxyAuthenticate: 20,
  via: 21,
  grpcStatus: 22,
  forwardedHost: 23,
  authorization: 24,
  cookie: 25,
  setCookie: 26,
  contentEncoding: 27,
  cacheControl: 28,
  userAgent: 29,
  accept: 30,
  b3: 31,
} as const;

const knownNames: readonly string[] = [
  "",
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "upgrade",
  "te",
  "trailer",
  "expect",
  "proxy-connection",
  "x-request-id",
  "x-forwarded-for",
  "x-forwarded-proto",
  "server",
  "date",
  "traceparent",
  "x-envoy-expected-rq-timeout-ms",
  "x-envoy-upstream-service-time",
  "content-type",
  "proxy-authenticate",
  "via",
  "grpc-status",
  "x-forwarded-host",
  "authorization",
  "cookie",
  "set-cookie",
  "content-encoding",
  "cache-control",
  "user-agent",
  "accept",
  "b3",
];

/** The hash that the head parser computes while it reads a name: start with 0. */
export function mixNameHash(hash: number, lowerByte: number): number {
  return (Math.imul(hash, 31) + lowerByte) | 0;
}

const slotMask = 255;
const idBySlot = new Uint8Array(slotMask + 1);
const knownBytes: readonly Uint8Array[] = knownNames.map((name) =>
  Uint8Array.from(name, (character) => character.charCodeAt(0)),
);

for (let id = 1; id < knownNames.length; id++) {
  let slot = hashName(knownNames[id] ?? "") & slotMask;
  while (idBySlot[slot] !== 0) slot = (slot + 1) & slotMask;
  idBySlot[slot] = id;
}

/** The hash of a lower-case name. */
export function hashName(name: string): number {
  let hash = 0;
  for (let at = 0; at < name.length; at++) hash = mixNameHash(hash, name.charCodeAt(at));
  return hash;
}

/** Names that code and configuration ask for are few, and short. */
const keptHashesMax = 1024;
const keptNameMax = 64;
const keptHashes = new Map<string, number>();

/**
 * As `hashName()`, for names that are asked for again and again: finding one is cheaper than reading it.
 * Not for names that a peer chooses, which would take the places of those.
 */
export function hashOf(name: string): number {
  const kept = keptHashes.get(name);
  if (kept !== undefined) return kept;
  const hash = hashName(name);
  if (name.length <= keptNameMax && keptHashes.size < keptHashesMax) keptHashes.set(name, hash);
  return hash;
}

/** The number of the lower-case name in `bytes[start, end)`, whose hash is known. */
export function knownId(hash: number, bytes: Uint8Array, start: number, end: number): number {
  let slot = hash & slotMask;
  for (;;) {
    const id = idBySlot[slot] ?? 0;
    if (id === 0) return 0;
    const name = knownBytes[id];
    if (name !== undefined && name.length === end - start) {
      let at = 0;
      while (at < name.length && name[at] === bytes[start + at]) at++;
      if (at === name.length) return id;
    }
    slot = (slot + 1) & slotMask;
  }
}
