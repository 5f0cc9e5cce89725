/**
 * A ClientHello read the slow way (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301), written
 * from the documents alone: everything is copied, and what runs out throws.
 */
import type { TlsInspection } from "../../src/wire/tls-hello.ts";

/** No Error, whose stack nobody reads. */
class Malformed {}

const raw: TlsInspection = { kind: "raw" };
const incomplete: TlsInspection = { kind: "incomplete" };
const bytesMax = 16 * 1024;

export function referenceHello(bytes: Uint8Array): TlsInspection {
  const message: number[] = [];
  let at = 0;
  const messageLength = (): number =>
    message.length < 4
      ? Number.POSITIVE_INFINITY
      : 4 + (message[1] ?? 0) * 65_536 + (message[2] ?? 0) * 256 + (message[3] ?? 0);
  while (at < bytes.length && message.length < messageLength()) {
    const [type, major, minor, high, low] = bytes.slice(at, at + 5);
    if (type !== 22 || (major ?? 3) !== 3 || (minor ?? 0) > 4) return raw;
    if (high === undefined || low === undefined) break;
    const length = high * 256 + low;
    if (length === 0 || length > 16_640) return raw;
    for (const byte of bytes.slice(at + 5, at + 5 + length)) message.push(byte);
    if ((message[0] ?? 1) !== 1) return raw;
    if (message.length >= 4 && messageLength() > 4 + bytesMax) return raw;
    at += 5 + length;
  }
  const length = messageLength();
  if (message.length < length) return bytes.length >= bytesMax ? raw : incomplete;
  try {
    return { kind: "hello", hello: readHello(message.slice(4, length)) };
  } catch (error) {
    if (error instanceof Malformed) return raw;
    throw error;
  }
}

function readHello(body: number[]): Extract<TlsInspection, { kind: "hello" }>["hello"] {
  const version = number(body, 2);
  take(body, 32);
  for (const width of [1, 2, 1]) vector(body, width);
  if (body.length === 0) return { sni: undefined, alpn: [], versionMax: version };
  const extensions = new Map<number, number[]>();
  const list = vector(body, 2);
  while (list.length > 0) {
    const type = number(list, 2);
    if (extensions.has(type)) throw new Malformed();
    extensions.set(type, vector(list, 2));
  }
  return {
    sni: nameOf(extensions.get(0)),
    alpn: protocolsOf(extensions.get(16)),
    versionMax: versionOf(extensions.get(43)) ?? version,
  };
}

function nameOf(extension: number[] | undefined): string | undefined {
  if (extension === undefined) return undefined;
  const entries = vector(extension, 2);
  const names: string[] = [];
  while (entries.length > 0) {
    const type = number(entries, 1);
    const value = vector(entries, 2);
    if (type === 0) names.push(String.fromCharCode(...value));
  }
  if (names.length > 1) throw new Malformed();
  return toHostname(names[0] ?? "");
}

function toHostname(name: string): string | undefined {
  if (!/^[\x21-\x7e]+$/.test(name)) return undefined;
  const bare = name.replace(/\.$/, "");
  return bare === "" || bare.endsWith(".") || bare.length > 255 ? undefined : bare.toLowerCase();
}

function protocolsOf(extension: number[] | undefined): readonly string[] {
  if (extension === undefined) return [];
  const entries = vector(extension, 2);
  const protocols: string[] = [];
  while (entries.length > 0) {
    const value = vector(entries, 1);
    if (value.length === 0) throw new Malformed();
    protocols.push(String.fromCharCode(...value));
  }
  return protocols;
}

function versionOf(extension: number[] | undefined): number | undefined {
  if (extension === undefined) return undefined;
  const entries = vector(extension, 1);
  const versions: number[] = [];
  while (entries.length > 0) versions.push(number(entries, 2));
  const known = versions.filter((version) => version > 0 && version <= 0x0304);
  return known.length === 0 ? undefined : Math.max(...known);
}

function take(from: number[], count: number): number[] {
  if (from.length < count) throw new Malformed();
  return from.splice(0, count);
}

function number(from: number[], width: number): number {
  return take(from, width).reduce((value, byte) => value * 256 + byte, 0);
}

function vector(from: number[], width: number): number[] {
  return take(from, number(from, width));
}
