/** `struct sockaddr_in`, `sockaddr_in6` and `sockaddr_un` of Linux, little-endian machines. Pure. */
import { isIPv4, isIPv6 } from "node:net";

import { assert } from "../../base/assert.ts";
import { isPipe, type SocketAddress } from "../../base/socket-address.ts";
import { formatIpv6, ipv6Groups } from "../../wire/ip-text.ts";

export const familyUnix = 1;
export const familyIpv4 = 2;
export const familyIpv6 = 10;

/** Large enough for an IP address of either family. */
export const sockaddrBytesMax = 28;

export function encodeSockaddr({ address, port }: SocketAddress): Buffer {
  if (isPipe(address)) return encodePipe(address);
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

/** The name of a file ends with NUL; an abstract one begins with it, and is as long as the structure says. */
function encodePipe(address: string): Buffer {
  const name = address.startsWith("@") ? `\0${address.slice(1)}` : `${address}\0`;
  const bytes = Buffer.alloc(2 + Buffer.byteLength(name));
  bytes.writeUInt16LE(familyUnix, 0);
  bytes.write(name, 2);
  return bytes;
}

/** Undefined when `bytes` hold neither family of IP. IPv4-mapped addresses come out as IPv4. */
export function decodeSockaddr(bytes: Buffer): SocketAddress | undefined {
  if (bytes.length < 8) return undefined;
  const family = bytes.readUInt16LE(0);
  const port = bytes.readUInt16BE(2);
  if (family === familyIpv4) return { address: bytes.subarray(4, 8).join("."), port };
  if (family !== familyIpv6 || bytes.length < 24) return undefined;
  return { address: formatIpv6(bytes.subarray(8, 24)), port };
}
