/**
 * IP addresses and ranges as bytes. Textual forms as the kernel and Envoy print them; no zones, no
 * names. IPv4-mapped IPv6 addresses are IPv4.
 */
import type { CidrRange } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";
import { refuse } from "./refusal.ts";

/** 4 or 16 bytes, most significant first. */
export type IpBytes = readonly number[];

export interface IpRange {
  readonly bytes: IpBytes;
  readonly prefixLength: number;
}

export function parseIp(text: string): IpBytes | undefined {
  if (!text.includes(":")) return parseIpv4(text);
  const bytes = parseIpv6(text);
  const isMapped =
    bytes?.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  return isMapped === true ? bytes?.slice(12) : bytes;
}

export function parseIpRange(range: CidrRange, path: string): IpRange {
  const bytes = parseIp(range.addressPrefix);
  if (bytes === undefined) {
    return refuse(`${path}.address_prefix`, `'${range.addressPrefix}' is no IP address`);
  }
  // As proto says: an absent length is 0.
  return { bytes, prefixLength: Math.min(range.prefixLen ?? 0, bytes.length * 8) };
}

export function isInRange(address: IpBytes, range: IpRange): boolean {
  if (address.length !== range.bytes.length) return false;
  const whole = range.prefixLength >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== range.bytes[i]) return false;
  const bits = range.prefixLength & 7;
  if (bits === 0) return true;
  const mask = (0xff << (8 - bits)) & 0xff;
  return ((address[whole] ?? 0) & mask) === ((range.bytes[whole] ?? 0) & mask);
}

const parsedMax = 1024;
/** No address is longer. */
const addressLengthMax = 64;
/** The same few addresses are asked about with every request. */
const parsed = new Map<string, IpBytes | undefined>();

/** `parseIp`, remembered. */
export function knownIp(text: string): IpBytes | undefined {
  if (text.length > addressLengthMax) return undefined;
  let bytes = parsed.get(text);
  if (bytes === undefined && !parsed.has(text)) {
    if (parsed.size >= parsedMax) parsed.clear();
    bytes = parseIp(text);
    parsed.set(text, bytes);
  }
  return bytes;
}

/** Whether a textual address lies in a range; what is no address lies in none. */
export function isWithin(address: string, range: IpRange): boolean {
  const bytes = knownIp(address);
  return bytes !== undefined && isInRange(bytes, range);
}

/** The range with its host bits cleared, as text; equal ranges give equal keys. */
export function ipRangeKey(range: IpRange): string {
  const cleared = range.bytes.map((byte, i) => {
    const bits = Math.max(0, Math.min(8, range.prefixLength - i * 8));
    return byte & ((0xff << (8 - bits)) & 0xff);
  });
  return `${cleared.join(".")}/${range.prefixLength}`;
}

export function isLoopback(address: IpBytes): boolean {
  if (address.length === 4) return address[0] === 127;
  return address.every((byte, i) => byte === (i === 15 ? 1 : 0));
}

function parseIpv4(text: string): IpBytes | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes: number[] = [];
  for (const part of parts) {
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes.push(Number(part));
  }
  return bytes;
}

function parseIpv6(text: string): IpBytes | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? "");
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? "") : [];
  if (head === undefined || tail === undefined) return undefined;
  if (halves.length === 1) return head.length === 16 ? head : undefined;
  const missing = 16 - head.length - tail.length;
  if (missing < 2) return undefined;
  return [...head, ...Array.from({ length: missing }, () => 0), ...tail];
}

function parseGroups(text: string): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const groups = text.split(":");
  for (const [i, group] of groups.entries()) {
    if (group.includes(".")) {
      const embedded = i === groups.length - 1 ? parseIpv4(group) : undefined;
      if (embedded === undefined) return undefined;
      bytes.push(...embedded);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
    }
  }
  return bytes;
}
