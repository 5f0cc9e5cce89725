/**
 * Listening sockets that outlive a process, for whoever composes processes: the keeper, which starts
 * processes and holds their sockets, and the process that is kept. The epoll backend alone can do it.
 */
import { systemClock } from "../base/clock.ts";
import { HeddleError } from "../base/error.ts";
import type { Logger } from "../telemetry/logger.ts";
import { KeptSockets, SocketKeeper } from "./epoll/kept-sockets.ts";
import type { DescriptorMessages } from "./epoll/native/descriptor-messages.ts";
import { probeNative } from "./epoll/native/probe.ts";
import { readable } from "./epoll/reactor.ts";
import { openReactor } from "./io-backend.ts";
import { keepNodesSockets } from "./portable/kept.ts";
import { adoptTicketSeed, followTicketSeed } from "./tls/ticket-keys.ts";

export type { KeptLine, SocketKeeper } from "./epoll/kept-sockets.ts";

/** Throws `io-unavailable` with the reason where the epoll backend does not work. */
export function openSocketKeeper(log: Logger): SocketKeeper {
  const { reactor, messages } = open(log);
  return new SocketKeeper(reactor, messages);
}

/**
 * What is kept: sockets of the epoll backend and the secret of TLS sessions, so that one proxy takes another's
 * place unnoticed; or sockets alone, but also those that Node serves (HTTP, DNS): a sidecar's keys stay with it.
 */
export type Keeping = "data-plane" | "every-socket";

/** This process's part of the line to its keeper. */
export interface KeeperLine {
  /** To be called when all sockets are open. */
  readonly tellReady: () => void;
  /** What comes to the sockets is not ours to take: another process serves in our place, or shall when its keeper is there. */
  readonly isOver: () => boolean;
  /** Tells, once, that the keeper has ended, and that no other process serves in our place. */
  readonly onLost: (listener: () => void) => void;
}

/** What a full line does not take is said again after this: its keeper reads whenever it is idle. */
const fullLineMs = 10;

/**
 * From now on this process's listening sockets are the keeper's, too. `line` is the descriptor that
 * the keeper started it with. Throws as above.
 */
export function joinSocketKeeper(line: number, log: Logger, keeping: Keeping): KeeperLine {
  const { reactor, messages } = open(log);
  const later = (): void => {
    systemClock.schedule(fullLineMs, () => kept.tellMore());
  };
  const kept = new KeptSockets(messages, line, later);
  reactor.kept = kept;
  if (keeping === "every-socket") keepNodesSockets(kept);
  else keepSessions(kept);
  return {
    tellReady: () => {
      for (const fd of kept.onReady()) reactor.syscalls.close(fd);
    },
    isOver: () => kept.isSucceeded() || kept.isOver(),
    onLost(listener) {
      const onEvents = (): void => {
        if (!kept.isOver()) return;
        // What it is told from now on is not said: the descriptor is open no longer.
        reactor.close(line);
        if (kept.isSucceeded()) return;
        log.error("the process that keeps the listening sockets has ended: this one ends, too");
        listener();
      };
      // Only the listener throws, once the line is closed.
      const watched = { onEvents, onFault: () => undefined };
      reactor.add(line, watched, readable);
    },
  };
}

/** Tickets that the process before us has sealed open here, too. */
function keepSessions(kept: KeptSockets): void {
  const [period, secret] = kept.secret?.split(" ") ?? [];
  if (period !== undefined && secret !== undefined) {
    adoptTicketSeed({ period: Number(period), secret: Buffer.from(secret, "base64") });
  }
  followTicketSeed(systemClock.nowMs(), (seed) => {
    kept.leaveSecret(`${seed.period} ${Buffer.from(seed.secret).toString("base64")}`);
  });
}

/** One for the process: its memory is never given back. */
let messages: DescriptorMessages | undefined;

function open(log: Logger) {
  const probe = probeNative();
  if (probe.kind === "absent") throw unavailable(probe.reason);
  messages ??= probe.native.openMessages?.();
  if (messages === undefined) throw unavailable("no messages between processes");
  return { reactor: openReactor(probe.native, log), messages };
}

function unavailable(reason: string): HeddleError {
  return new HeddleError("io-unavailable", `the epoll backend does not work here: ${reason}`);
}
