/**
 * Socket options that Node cannot set or read: the mark that lets the proxy's own connections pass
 * capture, and where a captured connection was meant to go. Linux only; see `openLibc`.
 */
import { isIPv4 } from "node:net";

import type { SocketAddress } from "../../base/socket-address.ts";
import type { TcpKeepAlive } from "../dialler.ts";
import { openLibc } from "./libc.ts";
import { optionsOfFamily, setSocketOptions, type SocketOption } from "./listening-socket.ts";
import {
  decodeSockaddr,
  encodeSockaddr,
  familyIpv4,
  familyIpv6,
  sockaddrBytesMax,
} from "./sockaddr.ts";

const sockStream = 1;
const sockDgram = 2;
const sockCloexec = 0o2000000;
const sockNonblock = 0o4000;
const solSocket = 1;
const soLinger = 13;
const soMark = 36;
const solIp = 0;
const ipBindAddressNoPort = 24;
const solIpv6 = 41;
const originalDst = 80;

/** Undefined when the kernel knows no redirection of this connection, or cannot be asked. */
export function readOriginalDestination(
  fd: number,
  isIpv4Peer: boolean,
): SocketAddress | undefined {
  const probe = openLibc();
  if (probe.kind === "absent" || fd < 0) return undefined;
  const value = Buffer.alloc(sockaddrBytesMax);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(sockaddrBytesMax, 0);
  const level = isIpv4Peer ? solIp : solIpv6;
  if (probe.libc.getsockopt(fd, level, originalDst, value, bytes) !== 0) return undefined;
  return decodeSockaddr(value.subarray(0, bytes.readUInt32LE(0)));
}

const soPeerCredentials = 17;
/** `struct ucred`: process, user, group. */
const credentialsBytes = 12;

/** Which process has connected to a Unix socket; undefined where the kernel cannot be asked. */
export function readPeerProcess(fd: number): number | undefined {
  const probe = openLibc();
  if (probe.kind === "absent" || fd < 0) return undefined;
  const value = Buffer.alloc(credentialsBytes);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(credentialsBytes, 0);
  const status = probe.libc.getsockopt(fd, solSocket, soPeerCredentials, value, bytes);
  return status === 0 ? value.readInt32LE(0) : undefined;
}

const soKeepAlive = 9;
const ipprotoTcp = 6;
const tcpKeepIdle = 4;
const tcpKeepInterval = 5;
const tcpKeepCount = 6;

/** Options of a socket, as `setsockopt` takes them, in order. */
export function keepAliveOptions(
  keepAlive: TcpKeepAlive | undefined,
): readonly (readonly [level: number, name: number, value: number])[] {
  if (keepAlive === undefined) return [];
  const { idleSeconds, intervalSeconds, probes } = keepAlive;
  const settings = [
    [tcpKeepCount, probes],
    [tcpKeepIdle, idleSeconds],
    [tcpKeepInterval, intervalSeconds],
  ] as const;
  return [
    [solSocket, soKeepAlive, 1],
    ...settings.flatMap(([name, value]) =>
      value === undefined ? [] : [[ipprotoTcp, name, value] as const],
    ),
  ];
}

/** Of a socket that is open. Without the kernel's library connections are not asked, which is safe. */
export function setKeepAlive(fd: number, keepAlive: TcpKeepAlive | undefined): void {
  const probe = openLibc();
  if (probe.kind === "absent" || fd < 0) return;
  for (const [level, name, setting] of keepAliveOptions(keepAlive)) {
    const value = int32(setting);
    probe.libc.setsockopt(fd, level, name, value, value.length);
  }
}

export interface MarkedSocketOptions {
  /** Decides the family. */
  readonly destination: string;
  readonly transport: "tcp" | "udp";
  readonly mark: number | undefined;
  readonly sourceAddress: string | undefined;
  readonly keepAlive?: TcpKeepAlive | undefined;
  readonly socketOptions?: readonly SocketOption[];
}

/**
 * A descriptor (close-on-exec, non-blocking) that the caller now owns, or why there is none.
 * `isSource`: the local address cannot be had.
 */
export function openMarkedSocket(
  options: MarkedSocketOptions,
): { readonly fd: number } | { readonly refusal: string; readonly isSource?: true } {
  const probe = openLibc();
  if (probe.kind === "absent") return { refusal: probe.reason };
  const { libc } = probe;
  const family = isIPv4(options.destination) ? familyIpv4 : familyIpv6;
  const type = options.transport === "tcp" ? sockStream : sockDgram;
  const fd = libc.socket(family, type | sockCloexec | sockNonblock, 0);
  if (fd < 0) return { refusal: "no descriptor is left" };
  const refuse = (refusal: string): { refusal: string } => {
    libc.close(fd);
    return { refusal };
  };
  if (options.mark !== undefined) {
    const value = int32(options.mark);
    if (libc.setsockopt(fd, solSocket, soMark, value, value.length) !== 0) {
      return refuse("the kernel refuses the socket mark; it needs CAP_NET_ADMIN");
    }
  }
  for (const [level, name, setting] of keepAliveOptions(options.keepAlive)) {
    const value = int32(setting);
    if (libc.setsockopt(fd, level, name, value, value.length) !== 0) {
      return refuse("the kernel refuses the settings of TCP keepalive");
    }
  }
  const wanted = optionsOfFamily(options.socketOptions ?? [], family === familyIpv4 ? 4 : 6);
  const early = setSocketOptions(fd, wanted, "unbound");
  if (early !== undefined) return refuse(early);
  if (options.sourceAddress !== undefined) {
    // Leaves the choice of the port to connect(), which may share ports between destinations.
    const value = int32(1);
    libc.setsockopt(fd, solIp, ipBindAddressNoPort, value, value.length);
    const address = encodeSockaddr({ address: options.sourceAddress, port: 0 });
    if (libc.bind(fd, address, address.length) !== 0) {
      return { ...refuse(`cannot connect from ${options.sourceAddress}`), isSource: true };
    }
  }
  return { fd };
}

const ipTransparent = 19;
const ipv6Transparent = 75;
const ipv6Only = 26;
const soReceiveBuffer = 8;
/** Bursts of datagrams wait here while the loop turns; the kernel gives what it allows. */
const receiveBufferBytes = 4 << 20;

/** A socket for datagrams at an address that need not be this machine's; the caller owns it. */
export function openTransparentSocket(
  at: SocketAddress,
): { readonly fd: number } | { readonly refusal: string } {
  const probe = openLibc();
  if (probe.kind === "absent") return { refusal: probe.reason };
  const { libc } = probe;
  const isIpv4At = isIPv4(at.address);
  const family = isIpv4At ? familyIpv4 : familyIpv6;
  const fd = libc.socket(family, sockDgram | sockCloexec | sockNonblock, 0);
  if (fd < 0) return { refusal: "no descriptor is left" };
  const set = (level: number, option: number, setting: number): boolean => {
    const value = int32(setting);
    return libc.setsockopt(fd, level, option, value, value.length) === 0;
  };
  const refuse = (refusal: string): { refusal: string } => {
    libc.close(fd);
    return { refusal };
  };
  const isTransparent = isIpv4At
    ? set(solIp, ipTransparent, 1)
    : set(solIpv6, ipv6Transparent, 1) && set(solIpv6, ipv6Only, 1);
  if (!isTransparent) return refuse("the kernel refuses it; it needs CAP_NET_ADMIN");
  set(solSocket, soReceiveBuffer, receiveBufferBytes);
  const address = encodeSockaddr(at);
  if (libc.bind(fd, address, address.length) !== 0) return refuse("the address is in use");
  return { fd };
}

/** Closing the socket tells its peer with RST from here on. False where that cannot be asked for. */
export function resetOnClose(fd: number): boolean {
  const probe = openLibc();
  if (probe.kind === "absent" || fd < 0) return false;
  // struct linger: on, and no seconds.
  const linger = Buffer.concat([int32(1), int32(0)]);
  return probe.libc.setsockopt(fd, solSocket, soLinger, linger, linger.length) === 0;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value, 0);
  return bytes;
}
