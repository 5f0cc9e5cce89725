/**
 * Reads the header of the PROXY protocol, versions 1 (text) and 2 (binary), from the first bytes of
 * a connection, and writes version 2. Strict: a header that is malformed ends the connection, for its addresses are what
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
    };

export interface ProxyAddresses {
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
}

const signature2 = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/** `PROXY ` */
const signature1 = [0x50, 0x52, 0x4f, 0x58, 0x59, 0x20];
const line1BytesMax = 107;
/** Addresses and TLVs of version 2; the field allows 64 KiB, nothing sane comes near this. */
const body2BytesMax = 4096;

export function decodeProxyHeader(bytes: Uint8Array): ProxyHeader {
  const v2 = matchSignature(bytes, signature2);
  if (v2 === "whole") return decode2(bytes);
  const v1 = matchSignature(bytes, signature1);
  if (v1 === "whole") return decode1(bytes);
  return { kind: v1 === "part" || v2 === "part" ? "incomplete" : "absent" };
}

/** Version 2, TCP: over IPv6 when either end has such an address; the other's is mapped then. */
export function encodeProxyHeader({ source, destination }: ProxyAddresses): Uint8Array {
  const ends = [source, destination];
  const isIpv6 = ends.some(({ address }) => address.includes(":"));
  const addresses = ends.flatMap(({ address }) => addressBytes(address, isIpv6));
  const ports = ends.flatMap(({ port }) => [port >> 8, port & 255]);
  const length = addresses.length + ports.length;
  const family = isIpv6 ? 0x21 : 0x11;
  return Uint8Array.from([...signature2, 0x21, family, 0, length, ...addresses, ...ports]);
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
  const header = { kind: "header", bytes: end + 1, version: 1 } as const;
  if (line === "UNKNOWN" || line.startsWith("UNKNOWN ")) return { ...header, addresses: undefined };
  const [family, source = "", destination = "", sourcePort = "", port = "", ...rest] =
    line.split(" ");
  if (rest.length > 0) return malformed("too many fields");
  const parse = family === "TCP4" ? parseIpv4 : family === "TCP6" ? parseIpv6 : undefined;
  if (parse === undefined) return malformed("unknown family");
  const from = toAddress(parse(source), sourcePort);
  const to = toAddress(parse(destination), port);
  if (from === undefined || to === undefined) return malformed("bad address or port");
  return { ...header, addresses: { source: from, destination: to } };
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
  if (command === 0) return { ...header, addresses: undefined };
  const size = family === 0x11 ? 4 : family === 0x21 ? 16 : 0;
  if (size === 0) return malformed("neither TCP over IPv4 nor over IPv6");
  if (length < 2 * size + 4) return malformed("addresses cut short");
  const body = bytes.subarray(16, 16 + length);
  const text = (part: Uint8Array): string => (size === 4 ? part.join(".") : formatIpv6(part));
  const port = (at: number): number => ((body[at] ?? 0) << 8) | (body[at + 1] ?? 0);
  return {
    ...header,
    addresses: {
      source: { address: text(body.subarray(0, size)), port: port(2 * size) },
      destination: { address: text(body.subarray(size, 2 * size)), port: port(2 * size + 2) },
    },
  };
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
