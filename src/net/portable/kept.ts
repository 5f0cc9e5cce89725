/**
 * Sockets that Node serves and another process keeps (`kept-sockets.ts`): where nobody does, as
 * usual, they are opened and closed as if this were not here.
 */
import { isIPv6 } from "node:net";

import type { SocketAddress } from "../../base/socket-address.ts";
import type { KeptSockets, Transport } from "../epoll/kept-sockets.ts";
import { openLibc } from "../sysio/libc.ts";
import { encodeSockaddr, familyIpv4, familyIpv6 } from "../sysio/sockaddr.ts";

const sockDatagram = 2;
const sockCloexec = 0o2000000;
const ipprotoIpv6 = 41;
const ipv6Only = 26;

let kept: KeptSockets | undefined;

/** From now on. */
export function keepNodesSockets(sockets: KeptSockets): void {
  kept = sockets;
}

/** What a process before this one listened on there; whoever takes it closes it. */
export function takeKept(address: SocketAddress): number | undefined {
  return kept?.take(address);
}

/**
 * A datagram socket that is bound there, kept or made now: Node does not tell the descriptors of those it
 * makes. Undefined where nobody keeps it or it cannot be bound: then Node shall try, and say why.
 */
export function takeKeptDatagrams(address: SocketAddress): number | undefined {
  if (kept === undefined) return undefined;
  return kept.take(address, "udp") ?? bindDatagrams(address);
}

export function onOpened(address: SocketAddress, fd: number, transport: Transport): void {
  if (fd >= 0) kept?.onOpened(address, fd, transport);
}

/** For good: nobody is to find it. */
export function onClosed(address: SocketAddress, transport: Transport): void {
  kept?.onClosed(address, transport);
}

function bindDatagrams(address: SocketAddress): number | undefined {
  const probe = openLibc();
  if (probe.kind === "absent") return undefined;
  const { libc } = probe;
  const isV6 = isIPv6(address.address);
  const fd = libc.socket(isV6 ? familyIpv6 : familyIpv4, sockDatagram | sockCloexec, 0);
  if (fd < 0) return undefined;
  if (isV6) libc.setsockopt(fd, ipprotoIpv6, ipv6Only, Buffer.from([1, 0, 0, 0]), 4);
  const bound = encodeSockaddr(address);
  if (libc.bind(fd, bound, bound.length) === 0) return fd;
  libc.close(fd);
  return undefined;
}
