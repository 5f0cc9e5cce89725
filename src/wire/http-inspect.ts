/**
 * Tells HTTP from other protocols by the first bytes of a connection, as Envoy's HTTP inspector
 * does: a whole request line, or HTTP/2's preface. Sans I/O; call with all bytes received so far.
 */
export type HttpInspection =
  | { readonly kind: "incomplete" }
  | { readonly kind: "other" }
  | { readonly kind: "http"; readonly protocol: "http/1.0" | "http/1.1" | "h2c" };

/** A request line longer than this is not looked at: the connection counts as another protocol. */
export const requestLineBytesMax: number = 64 * 1024;

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const methodBytesMax = 32;
const other: HttpInspection = { kind: "other" };
const incomplete: HttpInspection = { kind: "incomplete" };

export function inspectHttp(bytes: Uint8Array): HttpInspection {
  const prefaceSeen = matchPreface(bytes);
  if (prefaceSeen !== undefined) return prefaceSeen;
  // RFC 9112 §2.2: empty lines before a request line are skipped.
  let at = 0;
  while (bytes[at] === 13 && bytes[at + 1] === 10) at += 2;
  if (bytes[at] === 13 && at + 1 === bytes.length) return incomplete;
  const start = at;
  while (at < bytes.length && isTokenByte(bytes[at] ?? 0)) at += 1;
  if (at - start > methodBytesMax) return other;
  if (at === bytes.length) return incomplete;
  if (at === start || bytes[at] !== 32) return other;
  const end = bytes.indexOf(10, at);
  if (end < 0) return bytes.length > requestLineBytesMax ? other : incomplete;
  const lineEnd = bytes[end - 1] === 13 ? end - 1 : end;
  let version = "";
  for (let i = Math.max(at + 1, lineEnd - 9); i < lineEnd; i++) {
    version += String.fromCharCode(bytes[i] ?? 0);
  }
  if (version === " HTTP/1.1") return { kind: "http", protocol: "http/1.1" };
  if (version === " HTTP/1.0") return { kind: "http", protocol: "http/1.0" };
  return other;
}

/** Undefined when the bytes cannot be the preface any more. */
function matchPreface(bytes: Uint8Array): HttpInspection | undefined {
  const length = Math.min(bytes.length, preface.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== preface.charCodeAt(i)) return undefined;
  return length === preface.length ? { kind: "http", protocol: "h2c" } : incomplete;
}

/** RFC 9110 §5.6.2. */
function isTokenByte(byte: number): boolean {
  if (byte >= 0x61 && byte <= 0x7a) return true;
  if (byte >= 0x41 && byte <= 0x5a) return true;
  if (byte >= 0x30 && byte <= 0x39) return true;
  return "!#$%&'*+-.^_`|~".includes(String.fromCharCode(byte));
}

const answerStart = "HTTP/1.";
const settingsType = 4;
const frameHeadBytes = 9;

/** Whether the first bytes of a server are an answer of HTTP/1.1, or the SETTINGS that HTTP/2 begins with. */
export function isHttpAnswer(bytes: Uint8Array): boolean {
  if (bytes.length >= frameHeadBytes && bytes[3] === settingsType) {
    const [high = 0, middle = 0, low = 0, , flags, ...stream] = bytes.subarray(0, frameHeadBytes);
    const isOfConnection = stream.every((byte) => byte === 0);
    return high === 0 && ((middle << 8) | low) % 6 === 0 && flags === 0 && isOfConnection;
  }
  for (let at = 0; at < answerStart.length; at++) {
    if (bytes[at] !== answerStart.charCodeAt(at)) return false;
  }
  return true;
}
