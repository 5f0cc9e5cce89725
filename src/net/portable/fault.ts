import { messageOf } from "../../base/error.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Logger } from "../../telemetry/logger.ts";

/** A connection's handler broke: say so once, with the stack. */
export function reportFault(log: Logger, peer: SocketAddress, thrown: unknown): void {
  const detail = thrown instanceof Error ? (thrown.stack ?? thrown.message) : messageOf(thrown);
  log.error("a connection's handler failed", { peer: peer.address, port: peer.port, detail });
}
