/**
 * Reads a TLS ClientHello without consuming it: server name, protocols offered by ALPN, versions.
 * Sans I/O: call `inspectTlsHello` with everything received so far, from the first byte on. It
 * decides as early as the bytes allow and never asks for more than `helloBytesMax`. RFC 8446 §4.1.2,
 * RFC 6066 §3, RFC 7301.
 */
export type TlsInspection =
  | { readonly kind: "incomplete" }
  /** Not TLS (plaintext, SSLv2, garbage): carry the bytes on as they are. */
  | { readonly kind: "raw" }
  | { readonly kind: "hello"; readonly hello: TlsHello };

export interface TlsHello {
  /** Lower case, without a trailing dot; undefined without the extension or when it is no hostname. */
  readonly sni: string | undefined;
  readonly alpn: readonly string[];
  /** Highest version offered: 0x0304 is TLS 1.3. */
  readonly versionMax: number;
}

/** As Envoy's inspector: 16 KiB of hello, and what the record headers around it may take. */
export const helloBytesMax: number = 16 * 1024;

const recordHandshake = 22;
const recordBytesMax = 16_384 + 256;
const clientHello = 1;

export function inspectTlsHello(bytes: Uint8Array): TlsInspection {
  const joined = joinHandshake(bytes);
  if (joined.kind !== "bytes") return joined;
  const message = joined.bytes;
  const type = message[0];
  if (type === undefined) return incompleteUnlessFull(bytes);
  if (type !== clientHello) return { kind: "raw" };
  if (message.length < 4) return incompleteUnlessFull(bytes);
  const length = ((message[1] ?? 0) << 16) | ((message[2] ?? 0) << 8) | (message[3] ?? 0);
  if (length > helloBytesMax) return { kind: "raw" };
  if (message.length < 4 + length) return incompleteUnlessFull(bytes);
  const hello = decodeHello(message.subarray(4, 4 + length));
  return hello === undefined ? { kind: "raw" } : { kind: "hello", hello };
}

function incompleteUnlessFull(bytes: Uint8Array): TlsInspection {
  return { kind: bytes.length >= helloBytesMax ? "raw" : "incomplete" };
}

/**
 * The handshake bytes of the first message's records so far, without their headers. What follows it
 * is not looked at (early data, a compatibility record): whether it is there yet depends on how the
 * bytes arrive.
 */
function joinHandshake(
  bytes: Uint8Array,
): TlsInspection | { readonly kind: "bytes"; readonly bytes: Uint8Array } {
  const parts: Uint8Array[] = [];
  let at = 0;
  let joined = 0;
  const head: number[] = [];
  while (at < bytes.length && !isWholeMessage(head, joined)) {
    if (bytes[at] !== recordHandshake) return { kind: "raw" };
    const major = bytes[at + 1];
    const minor = bytes[at + 2];
    if (major !== undefined && major !== 3) return { kind: "raw" };
    if (minor !== undefined && minor > 4) return { kind: "raw" };
    const high = bytes[at + 3];
    const low = bytes[at + 4];
    if (high === undefined || low === undefined) break;
    const length = (high << 8) | low;
    if (length === 0 || length > recordBytesMax) return { kind: "raw" };
    const part = bytes.subarray(at + 5, at + 5 + length);
    parts.push(part);
    joined += part.length;
    for (let i = 0; i < part.length && head.length < 4; i++) head.push(part[i] ?? 0);
    at += 5 + length;
  }
  return { kind: "bytes", bytes: parts.length === 1 ? (parts[0] ?? bytes) : concat(parts) };
}

/** `head`: the message's first bytes, type and length; a type that is no hello needs no more. */
function isWholeMessage(head: readonly number[], joined: number): boolean {
  const [type = clientHello, high = 0, middle = 0, low] = head;
  if (type !== clientHello) return true;
  return low !== undefined && joined >= 4 + ((high << 16) | (middle << 8) | low);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** A cursor that fails once and for all when it is asked for more than there is. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  isBroken = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isDone(): boolean {
    return this.isBroken || this.#at >= this.#bytes.length;
  }

  number(size: 1 | 2): number {
    const [high = 0, low = 0] = this.take(size);
    return size === 1 ? high : (high << 8) | low;
  }

  take(length: number): Uint8Array {
    const end = this.#at + length;
    if (this.isBroken || end > this.#bytes.length) {
      this.isBroken = true;
      return new Uint8Array(0);
    }
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  /** A vector behind its length. */
  vector(size: 1 | 2): Reader {
    const inner = new Reader(this.take(this.number(size)));
    inner.isBroken = this.isBroken;
    return inner;
  }
}

function decodeHello(bytes: Uint8Array): TlsHello | undefined {
  const reader = new Reader(bytes);
  let versionMax = reader.number(2);
  reader.take(32); // random
  reader.vector(1); // session id
  reader.vector(2); // cipher suites
  reader.vector(1); // compression
  if (reader.isBroken) return undefined;
  let sni: string | undefined;
  let alpn: readonly string[] = [];
  if (!reader.isDone) {
    const seen = new Set<number>();
    const extensions = reader.vector(2);
    while (!extensions.isDone) {
      const type = extensions.number(2);
      const body = extensions.vector(2);
      // RFC 8446 §4.2: an extension comes once. Two names would let two readers disagree.
      if (extensions.isBroken || seen.has(type)) return undefined;
      seen.add(type);
      if (type === 0) sni = decodeServerName(body);
      if (type === 16) alpn = decodeProtocols(body);
      if (type === 43) versionMax = decodeVersions(body) ?? versionMax;
      if (body.isBroken) return undefined;
    }
    if (extensions.isBroken || reader.isBroken) return undefined;
  }
  return { sni, alpn, versionMax };
}

function decodeServerName(body: Reader): string | undefined {
  const list = body.vector(2);
  let name: string | undefined;
  let seen = false;
  while (!list.isDone) {
    const type = list.number(1);
    const value = list.vector(2);
    // RFC 6066 §3: one name of a type. Two would let two readers disagree.
    if (type === 0 && seen) list.isBroken = true;
    if (type === 0) name = hostname(value);
    seen ||= type === 0;
  }
  body.isBroken ||= list.isBroken;
  return name;
}

function hostname(value: Reader): string | undefined {
  let name = "";
  while (!value.isDone) {
    const byte = value.number(1);
    // Letters, digits, and what Istio's own names need; anything else is no hostname.
    if (byte < 0x21 || byte > 0x7e) return undefined;
    name += String.fromCharCode(byte);
  }
  if (name.endsWith(".")) name = name.slice(0, -1);
  // One dot may end a name, an empty label may not.
  return name === "" || name.endsWith(".") || name.length > 255 ? undefined : name.toLowerCase();
}

function decodeProtocols(body: Reader): readonly string[] {
  const list = body.vector(2);
  const protocols: string[] = [];
  while (!list.isDone) {
    const value = list.vector(1);
    let protocol = "";
    while (!value.isDone) protocol += String.fromCharCode(value.number(1));
    if (protocol === "") list.isBroken = true;
    protocols.push(protocol);
  }
  body.isBroken ||= list.isBroken;
  return protocols;
}

function decodeVersions(body: Reader): number | undefined {
  const list = body.vector(1);
  let max: number | undefined;
  while (!list.isDone) {
    const version = list.number(2);
    // GREASE values (RFC 8701) are no versions.
    if (version <= 0x0304 && version > (max ?? 0)) max = version;
  }
  body.isBroken ||= list.isBroken;
  return max;
}
