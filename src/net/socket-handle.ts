/**
 * What Node does not tell about its sockets: their descriptor, and where a redirected connection was
 * meant to go. For whoever passes sockets between processes; the data plane's listeners ask
 * themselves.
 */
import type { Server, Socket } from "node:net";

import type { SocketAddress } from "../base/socket-address.ts";
import { readOriginalDestination } from "./sysio/socket-options.ts";

/** -1 when it is closed, or when this Node keeps its handle elsewhere than the versions we know. */
export function descriptorOf(owner: Server | Socket): number {
  const handle: unknown = Reflect.get(owner, "_handle");
  if (typeof handle !== "object" || handle === null) return -1;
  const fd: unknown = Reflect.get(handle, "fd");
  return typeof fd === "number" ? fd : -1;
}

/** Undefined when the kernel knows no redirection of this connection, or cannot be asked. */
export function originalDestinationOf(socket: Socket): SocketAddress | undefined {
  // A listener on :: sees IPv4 peers as ::ffff:10.0.0.1; the kernel keeps their redirection as IPv4.
  const isIpv4 = socket.remoteAddress?.includes(".") === true;
  return readOriginalDestination(descriptorOf(socket), isIpv4);
}
