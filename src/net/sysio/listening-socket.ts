/**
 * Listening sockets with options that Node does not know: to stand at an address that this machine
 * does not have, and whatever else configuration asks the kernel for. Linux only; see `openLibc`.
 */
import { isIPv6 } from "node:net";

import type { SocketAddress } from "../../base/socket-address.ts";
import { openLibc } from "./libc.ts";
import { encodeSockaddr, familyIpv4, familyIpv6 } from "./sockaddr.ts";

/** As `setsockopt` takes it; numbers are 32 bits. */
export interface SocketOption {
  readonly level: number;
  readonly name: number;
  readonly value: number | Uint8Array;
  /** At which point of a socket's life it is set. */
  readonly when: "unbound" | "bound" | "listening";
}

const sockStream = 1;
const sockCloexec = 0o2000000;
const sockNonblock = 0o4000;
const solSocket = 1;
const soReuseAddr = 2;
const ipprotoIpv6 = 41;
const ipv6Only = 26;

/** What the kernel says to the first that it refuses; undefined when it has taken all. */
export function setSocketOptions(
  fd: number,
  options: readonly SocketOption[],
  when: SocketOption["when"],
): string | undefined {
  const wanted = options.filter((one) => one.when === when);
  if (wanted.length === 0) return undefined;
  const probe = openLibc();
  if (probe.kind === "absent" || fd < 0) {
    return `socket options cannot be set: ${probe.kind === "absent" ? probe.reason : "no descriptor"}`;
  }
  for (const { level, name, value } of wanted) {
    const bytes = typeof value === "number" ? int32(value) : value;
    if (probe.libc.setsockopt(fd, level, name, bytes, bytes.length) !== 0) {
      return `the kernel refuses socket option ${name} of level ${level}`;
    }
  }
  return undefined;
}

/** A bound descriptor (close-on-exec, non-blocking) that the caller now owns, or why there is none. */
export function openBoundSocket(
  at: SocketAddress,
  options: readonly SocketOption[],
): { readonly fd: number } | { readonly refusal: string } {
  const probe = openLibc();
  if (probe.kind === "absent") return { refusal: probe.reason };
  const { libc } = probe;
  const isV6 = isIPv6(at.address);
  const type = sockStream | sockCloexec | sockNonblock;
  const fd = libc.socket(isV6 ? familyIpv6 : familyIpv4, type, 0);
  if (fd < 0) return { refusal: "no descriptor is left" };
  const refuse = (refusal: string): { refusal: string } => {
    libc.close(fd);
    return { refusal };
  };
  const on = int32(1);
  libc.setsockopt(fd, solSocket, soReuseAddr, on, on.length);
  // As Envoy without `ipv4_compat`: `::` and `0.0.0.0` are two listeners on one port.
  if (isV6) libc.setsockopt(fd, ipprotoIpv6, ipv6Only, on, on.length);
  const early = setSocketOptions(fd, options, "unbound");
  if (early !== undefined) return refuse(early);
  const address = encodeSockaddr(at);
  if (libc.bind(fd, address, address.length) !== 0) return refuse("the address cannot be bound");
  const late = setSocketOptions(fd, options, "bound");
  return late === undefined ? { fd } : refuse(late);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0, 0);
  return bytes;
}
