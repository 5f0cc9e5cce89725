/** `struct sockaddr_in` and `sockaddr_in6` of Linux, little-endian machines. Pure. */
import { isIPv4, isIPv6 } from "node:net";

import { assert } from "../../base/assert.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { formatIpv6, ipv6Groups } from "../../wire/ip-text.ts";

export const familyIpv4 = 2;
export const familyIpv6 = 10;

/** Large enough for either structure. */
export const sockaddrBytesMax = 28;

export function encodeSockaddr({ address, port }: SocketAddress): Buffer {
  if (isIPv4(address)) {
    const bytes = Buffer.alloc(16);
    bytes.writeUInt16LE(familyIpv4, 0);
    bytes.writeUInt16BE(port, 2);
    bytes.set(address.split(".").map(Number), 4);
    return bytes;
  }
  assert(isIPv6(address), "sockaddr: not an IP address");
  const bytes = Buffer.alloc(28);
  bytes.writeUInt16LE(familyIpv6, 0);
  bytes.writeUInt16BE(port, 2);
  ipv6Groups(address).forEach((group, i) => bytes.writeUInt16BE(group, 8 + 2 * i));
  return bytes;
}

/** Undefined when `bytes` hold neither family. IPv4-mapped addresses come out as IPv4. */
export function decodeSockaddr(bytes: Buffer): SocketAddress | undefined {
  if (bytes.length < 8) return undefined;
  const family = bytes.readUInt16LE(0);
  const port = bytes.readUInt16BE(2);
  if (family === familyIpv4) return { address: bytes.subarray(4, 8).join("."), port };
  if (family !== familyIpv6 || bytes.length < 24) return undefined;
  return { address: formatIpv6(bytes.subarray(8, 24)), port };
}
