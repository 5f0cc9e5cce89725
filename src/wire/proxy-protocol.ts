/**
 * Reads the header of the PROXY protocol, versions 1 (text) and 2 (binary), from the first bytes of
 * a connection, and writes both. Strict: a header that is malformed ends the connection, for its addresses are what
 * policies decide on. TLVs are bounded by the header and not interpreted. Sans I/O.
 */
import type { SocketAddress } from "../base/socket-address.ts";
import { formatIpv6, ipv6Groups } from "./ip-text.ts";

export type ProxyHeader =
  | { readonly kind: "incomplete" }
  /** The bytes are no PROXY header. */
  | { readonly kind: "absent" }
  | { readonly kind: "malformed"; readonly reason: string }
  /** `addresses` is undefined for LOCAL and UNKNOWN: keep the connection's own. */
  | {
      readonly kind: "header";
      readonly bytes: number;
      readonly version: 1 | 2;
      readonly addresses: ProxyAddresses | undefined;
      /** Of version 2, as they came and whole: `tlvsOf()` takes them apart. */
      readonly tlvs: Uint8Array;
    };

export interface ProxyAddresses {
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
}

/** A value that a header carries beside the addresses; `type` is a byte. */
export interface ProxyTlv {
  readonly type: number;
  readonly value: Uint8Array;
}

const signature2 = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/** `PROXY ` */
const signature1 = [0x50, 0x52, 0x4f, 0x58, 0x59, 0x20];
const line1BytesMax = 107;
/** Addresses and TLVs of version 2; the field allows 64 KiB, nothing sane comes near this. */
const body2BytesMax = 4096;
/** Type and length. */
const tlvHeadBytes = 3;
const noTlvs = new Uint8Array(0);

export function decodeProxyHeader(bytes: Uint8Array): ProxyHeader {
  const v2 = matchSignature(bytes, signature2);
  if (v2 === "whole") return decode2(bytes);
  const v1 = matchSignature(bytes, signature1);
  if (v1 === "whole") return decode1(bytes);
  return { kind: v1 === "part" || v2 === "part" ? "incomplete" : "absent" };
}

/** Which version begins so, whole or not; undefined where neither does, or both may. */
export function proxyVersionOf(bytes: Uint8Array): 1 | 2 | undefined {
  if (bytes.length === 0) return undefined;
  if (matchSignature(bytes, signature2) !== "none") return 2;
  return matchSignature(bytes, signature1) === "none" ? undefined : 1;
}

/** What `tlvs` of a header holds, in its order. */
export function* tlvsOf(tlvs: Uint8Array): Generator<ProxyTlv, void> {
  for (let at = 0; at < tlvs.length;) {
    const end = tlvEnd(tlvs, at);
    yield { type: tlvs[at] ?? 0, value: tlvs.subarray(at + tlvHeadBytes, end) };
    at = end;
  }
}

/**
 * Version 2, TCP: over IPv6 when either end has such an address; the other's is mapped then. All TLVs
 * together, with three bytes more for each, have at most 65,499 bytes.
 */
export function encodeProxyHeader(
  { source, destination }: ProxyAddresses,
  tlvs: readonly ProxyTlv[] = [],
): Uint8Array {
  const ends = [source, destination];
  const isIpv6 = areIpv6(ends);
  const addresses = ends.flatMap(({ address }) => addressBytes(address, isIpv6));
  const ports = ends.flatMap(({ port }) => [port >> 8, port & 255]);
  const values = tlvs.flatMap(({ type, value }) => [
    type,
    value.length >> 8,
    value.length & 255,
    ...value,
  ]);
  const body = [...addresses, ...ports, ...values];
  const family = isIpv6 ? 0x21 : 0x11;
  const head = [...signature2, 0x21, family, body.length >> 8, body.length & 255];
  return Uint8Array.from([...head, ...body]);
}

/** Version 1; without addresses who reads it keeps the connection's own. */
export function encodeProxyLine(addresses: ProxyAddresses | undefined): Uint8Array {
  if (addresses === undefined) return asciiBytes("PROXY UNKNOWN\r\n");
  const { source, destination } = addresses;
  const isIpv6 = areIpv6([source, destination]);
  const text = ({ address }: SocketAddress): string =>
    isIpv6 && !address.includes(":") ? mappedText(address) : address;
  const ends = `${text(source)} ${text(destination)} ${source.port} ${destination.port}`;
  return asciiBytes(`PROXY TCP${isIpv6 ? 6 : 4} ${ends}\r\n`);
}

/** Version 2, LOCAL: the proxy speaks for itself. */
export function encodeLocalHeader(): Uint8Array {
  return Uint8Array.from([...signature2, 0x20, 0, 0, 0]);
}

function areIpv6(ends: readonly SocketAddress[]): boolean {
  return ends.some(({ address }) => address.includes(":"));
}

/** In groups: the specification has no dotted quads. */
function mappedText(address: string): string {
  const [high = 0, low = 0] = ipv6Groups(`::ffff:${address}`).slice(6);
  return `::ffff:${high.toString(16)}:${low.toString(16)}`;
}

function asciiBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function addressBytes(address: string, isIpv6: boolean): number[] {
  if (!isIpv6) return address.split(".").map(Number);
  const text = address.includes(":") ? address : `::ffff:${address}`;
  return ipv6Groups(text).flatMap((group) => [group >> 8, group & 255]);
}

function matchSignature(
  bytes: Uint8Array,
  signature: readonly number[],
): "none" | "part" | "whole" {
  const length = Math.min(bytes.length, signature.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== signature[i]) return "none";
  return length === signature.length ? "whole" : "part";
}

function malformed(reason: string): ProxyHeader {
  return { kind: "malformed", reason };
}

function decode1(bytes: Uint8Array): ProxyHeader {
  const end = bytes.subarray(0, line1BytesMax).indexOf(10);
  if (end < 0) {
    return bytes.length >= line1BytesMax ? malformed("line too long") : { kind: "incomplete" };
  }
  if (bytes[end - 1] !== 13) return malformed("line not ended by CRLF");
  const line = String.fromCharCode(...bytes.subarray(6, end - 1));
  const header = { kind: "header", bytes: end + 1, version: 1, tlvs: noTlvs } as const;
  if (line === "UNKNOWN" || line.startsWith("UNKNOWN ")) return { ...header, addresses: undefined };
  const [family, source = "", destination = "", sourcePort = "", port = "", ...rest] =
    line.split(" ");
  if (rest.length > 0) return malformed("too many fields");
  const parse = family === "TCP4" ? parseIpv4 : family === "TCP6" ? parseIpv6 : undefined;
  if (parse === undefined) return malformed("unknown family");
  const from = toAddress(parse(source), sourcePort);
  const to = toAddress(parse(destination), port);
  if (from === undefined || to === undefined) return malformed("bad address or port");
  return withAddresses(header, { source: from, destination: to });
}

/** Over TCP both are somebody's: a group, everybody or nobody speaks otherwise. */
function withAddresses(
  header: Omit<Extract<ProxyHeader, { kind: "header" }>, "addresses">,
  addresses: ProxyAddresses,
): ProxyHeader {
  const { source, destination } = addresses;
  if (!isUnicast(source.address) || !isUnicast(destination.address)) {
    return malformed("an address that is nobody's");
  }
  return { ...header, addresses };
}

function isUnicast(address: string): boolean {
  if (address.includes(":")) return address !== "::" && !/^ff[0-9a-f]{2}:/.test(address);
  const first = Number.parseInt(address, 10);
  const isGroup = first >= 224 && first < 240;
  return !isGroup && address !== "0.0.0.0" && address !== "255.255.255.255";
}

function toAddress(address: string | undefined, port: string): SocketAddress | undefined {
  if (address === undefined || !/^(0|[1-9]\d{0,4})$/.test(port)) return undefined;
  const number = Number(port);
  return number > 65_535 ? undefined : { address, port: number };
}

function decode2(bytes: Uint8Array): ProxyHeader {
  const [versionCommand, family, high, low] = bytes.subarray(12, 16);
  if (versionCommand === undefined) return { kind: "incomplete" };
  if (versionCommand >> 4 !== 2) return malformed("unknown version");
  const command = versionCommand & 15;
  if (command > 1) return malformed("unknown command");
  if (family === undefined || high === undefined || low === undefined) {
    return { kind: "incomplete" };
  }
  const length = (high << 8) | low;
  if (length > body2BytesMax) return malformed("header too long");
  if (bytes.length < 16 + length) return { kind: "incomplete" };
  const header = { kind: "header", bytes: 16 + length, version: 2 } as const;
  // LOCAL: the proxy speaks for itself (a health check).
  if (command === 0) return { ...header, addresses: undefined, tlvs: noTlvs };
  const size = family === 0x11 ? 4 : family === 0x21 ? 16 : 0;
  if (size === 0) return malformed("neither TCP over IPv4 nor over IPv6");
  if (length < 2 * size + 4) return malformed("addresses cut short");
  const body = bytes.subarray(16, 16 + length);
  // A copy: what came belongs to whoever reads on.
  const tlvs = Uint8Array.from(body.subarray(2 * size + 4));
  if (!areWhole(tlvs)) return malformed("a value cut short");
  const text = (part: Uint8Array): string => (size === 4 ? part.join(".") : formatIpv6(part));
  const port = (at: number): number => ((body[at] ?? 0) << 8) | (body[at + 1] ?? 0);
  const addresses = {
    source: { address: text(body.subarray(0, size)), port: port(2 * size) },
    destination: { address: text(body.subarray(size, 2 * size)), port: port(2 * size + 2) },
  };
  return withAddresses({ ...header, tlvs }, addresses);
}

function areWhole(tlvs: Uint8Array): boolean {
  let at = 0;
  while (at + tlvHeadBytes <= tlvs.length) at = tlvEnd(tlvs, at);
  return at === tlvs.length;
}

/** Where the one that begins at `at` says that it ends. */
function tlvEnd(tlvs: Uint8Array, at: number): number {
  return at + tlvHeadBytes + (((tlvs[at + 1] ?? 0) << 8) | (tlvs[at + 2] ?? 0));
}

function parseIpv4(text: string): string | undefined {
  const parts = text.split(".");
  const isValid =
    parts.length === 4 &&
    parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
  return isValid ? text : undefined;
}

/** In RFC 5952 form, whatever form it came in. */
function parseIpv6(text: string): string | undefined {
  const halves = text.split("::");
  if (halves.length > 2 || text.length > 39) return undefined;
  const groups = halves.map((half) => (half === "" ? [] : half.split(":")));
  const [head = [], tail = []] = groups;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...Array<string>(halves.length === 2 ? missing : 0).fill("0"), ...tail];
  if (!all.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  const bytes = new Uint8Array(16);
  all.forEach((group, i) => {
    const value = Number.parseInt(group, 16);
    bytes[2 * i] = value >> 8;
    bytes[2 * i + 1] = value & 255;
  });
  return formatIpv6(bytes);
}
