/** Listeners on the host, opened by the process outside for the mesh inside. */
import { createServer, type Server } from "node:net";

import { HeddleError, messageOf } from "../../base/error.ts";
import type { SourcePosition } from "../../base/problem.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";

export interface HostListener {
  /** `gatewayPortKey` of what it was opened for; empty for the console. */
  readonly key: string;
  readonly server: Server;
  /** With the port that was chosen when 0 was asked for. */
  readonly address: SocketAddress;
}

export interface WantedListener extends SocketAddress {
  /** Where the port is written, told when it could not be opened. */
  readonly place?: SourcePosition;
}

/** `what` names it in the sentence that says why it could not be opened: `the console`. */
export async function openHostListener(
  what: string,
  address: WantedListener,
  key = "",
): Promise<HostListener> {
  // It accepts only once it is handed over; what comes in the moments before is turned away.
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address.address, port: address.port }, resolve);
    });
  } catch (thrown) {
    const { place } = address;
    const where = place === undefined ? "" : `${place.file}:${place.line}:${place.column}: `;
    throw new HeddleError("local.host-port", `${where}${whyNot(what, address, thrown)}`, {
      cause: thrown,
    });
  }
  const bound = server.address();
  const port = bound !== null && typeof bound === "object" ? bound.port : address.port;
  return { key, server, address: { address: address.address, port } };
}

function whyNot(what: string, address: SocketAddress, thrown: unknown): string {
  const place = formatSocketAddress(address);
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  if (code === "EADDRINUSE") {
    return `port ${address.port} for ${what} is in use by another program; stop it or choose another port`;
  }
  if (code === "EACCES") {
    return `port ${address.port} for ${what} needs root; choose one above 1023`;
  }
  return `could not listen on ${place} for ${what}: ${messageOf(thrown)}`;
}
