/**
 * Listening sockets with options that Node does not know: to stand at an address that this machine
 * does not have, and whatever else configuration asks the kernel for; and Unix sockets, whose file shall
 * have its permissions before anybody can connect. Linux only; see `openLibc`.
 */
import { isIPv6 } from "node:net";

import { messageOf } from "../../base/error.ts";
import { isPipe, type SocketAddress } from "../../base/socket-address.ts";
import { openLibc } from "./libc.ts";
import { clearPipe, type PipeFile, pipeFileOf, removePipe } from "./pipe-socket.ts";
import { encodeSockaddr, familyIpv4, familyIpv6, familyUnix } from "./sockaddr.ts";

/** As `setsockopt` takes it; numbers are 32 bits. */
export interface SocketOption {
  readonly level: number;
  readonly name: number;
  readonly value: number | Uint8Array;
  /** At which point of a socket's life it is set. */
  readonly when: "unbound" | "bound" | "listening";
  /** Of these sockets alone. */
  readonly family?: 4 | 6 | undefined;
}

const sockStream = 1;
const sockCloexec = 0o2000000;
const sockNonblock = 0o4000;
const solSocket = 1;
const soReuseAddr = 2;
const ipprotoIpv6 = 41;
const ipv6Only = 26;

export function optionsOfFamily(
  options: readonly SocketOption[],
  of: 4 | 6,
): readonly SocketOption[] {
  return options.filter(({ family = of }) => family === of);
}

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

export interface BoundSocket {
  /** Close-on-exec and non-blocking; the caller now owns it. */
  readonly fd: number;
  /** Of a Unix socket that is a file: to be removed at the end. */
  readonly file: PipeFile | undefined;
}

/** A bound descriptor, or why there is none. `mode`: of the file of a Unix socket. */
export function openBoundSocket(
  at: SocketAddress,
  options: readonly SocketOption[],
  mode = 0,
): BoundSocket | { readonly refusal: string } {
  const probe = openLibc();
  if (probe.kind === "absent") return { refusal: probe.reason };
  const { libc } = probe;
  const isV6 = isIPv6(at.address);
  const type = sockStream | sockCloexec | sockNonblock;
  const isUnix = isPipe(at.address);
  const fd = libc.socket(isUnix ? familyUnix : isV6 ? familyIpv6 : familyIpv4, type, 0);
  if (fd < 0) return { refusal: "no descriptor is left" };
  const refuse = (refusal: string): { refusal: string } => {
    libc.close(fd);
    return { refusal };
  };
  const on = int32(1);
  if (!isUnix) libc.setsockopt(fd, solSocket, soReuseAddr, on, on.length);
  // As Envoy without `ipv4_compat`: `::` and `0.0.0.0` are two listeners on one port.
  if (isV6) libc.setsockopt(fd, ipprotoIpv6, ipv6Only, on, on.length);
  const early = setSocketOptions(fd, options, "unbound");
  if (early !== undefined) return refuse(early);
  const address = encodeSockaddr(at);
  let file: PipeFile | undefined;
  try {
    if (isUnix) clearPipe(at.address);
    if (libc.bind(fd, address, address.length) !== 0) return refuse("the address cannot be bound");
    if (isUnix) file = pipeFileOf(at.address, mode);
  } catch (thrown) {
    return refuse(messageOf(thrown));
  }
  const late = setSocketOptions(fd, options, "bound");
  if (late === undefined) return { fd, file };
  if (file !== undefined) removePipe(file);
  return refuse(late);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0, 0);
  return bytes;
}
