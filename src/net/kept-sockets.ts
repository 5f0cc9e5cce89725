/**
 * Listening sockets that outlive a process, for whoever composes processes: the keeper, which starts
 * processes and holds their sockets, and the process that is kept. The epoll backend alone can do it.
 */
import { HeddleError } from "../base/error.ts";
import type { Logger } from "../telemetry/logger.ts";
import { KeptSockets, SocketKeeper } from "./epoll/kept-sockets.ts";
import { probeNative } from "./epoll/native/probe.ts";
import { openReactor } from "./io-backend.ts";

export type { KeptLine, SocketKeeper } from "./epoll/kept-sockets.ts";

/** Throws `io-unavailable` with the reason where the epoll backend does not work. */
export function openSocketKeeper(log: Logger): SocketKeeper {
  const { reactor, messages } = open(log);
  return new SocketKeeper(reactor, messages);
}

/**
 * From now on this process's listening sockets are the keeper's, too. `line` is the descriptor that
 * the keeper started it with. Returns what is to be called when all sockets are open. Throws as above.
 */
export function joinSocketKeeper(line: number, log: Logger): () => void {
  const { reactor, messages } = open(log);
  const kept = new KeptSockets(messages, line);
  reactor.kept = kept;
  return () => {
    for (const fd of kept.onReady()) reactor.syscalls.close(fd);
  };
}

function open(log: Logger) {
  const probe = probeNative();
  if (probe.kind === "absent") throw unavailable(probe.reason);
  const messages = probe.native.openMessages?.();
  if (messages === undefined) throw unavailable("no messages between processes");
  return { reactor: openReactor(probe.native, log), messages };
}

function unavailable(reason: string): HeddleError {
  return new HeddleError("io-unavailable", `the epoll backend does not work here: ${reason}`);
}
