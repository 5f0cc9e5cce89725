/** Socket addresses in native memory, and the errors of system calls as other backends word them. */
import os from "node:os";

import type { SocketAddress } from "../../base/socket-address.ts";
import type { ChannelError } from "../channel.ts";
import { decodeSockaddr } from "../sysio/sockaddr.ts";
import type { Reactor } from "./reactor.ts";

const lingerNot = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
const nowhere: SocketAddress = { address: "", port: 0 };
const namesOfErrors = new Map(
  Object.entries(os.constants.errno).map(([name, number]) => [number, name]),
);

/** What the address slab holds after a call that filled it. */
export function addressIn(reactor: Reactor): SocketAddress {
  return decodeSockaddr(reactor.addressSlab.bytes) ?? nowhere;
}

export function localAddressOf(reactor: Reactor, fd: number): SocketAddress {
  const status = reactor.syscalls.localAddress(fd, reactor.addressSlab);
  return status < 0 ? nowhere : addressIn(reactor);
}

/** `ECONNRESET` of 104; `status` may be the negative number. */
export function errorName(status: number): string {
  return namesOfErrors.get(Math.abs(status)) ?? "EUNKNOWN";
}

/** `read ECONNRESET`, as Node words it. */
export function channelError(call: string, status: number, where = ""): ChannelError {
  const code = errorName(status);
  return { code, message: where === "" ? `${call} ${code}` : `${call} ${code} ${where}` };
}

/** Closing tells the peer with RST from here on. */
export function setLinger(reactor: Reactor, fd: number): void {
  const [solSocket, soLinger] = [1, 13];
  // struct linger: on, and no seconds.
  reactor.syscalls.setOptionBytes(fd, { level: solSocket, option: soLinger, value: lingerNot });
}

/** OpenSSL's reason as Node names it: `ERR_SSL_WRONG_VERSION_NUMBER`. */
export function sslErrorCode(reason: string): string {
  return `ERR_SSL_${reason.toUpperCase().replaceAll(/[^A-Z0-9]+/g, "_")}`;
}
