/**
 * Who does the data plane's I/O: the portable backend (Node's sockets, every platform) or the epoll
 * backend (Linux, system calls through `node:ffi`). Both keep the same promises.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Dialler } from "./dialler.ts";
import { createEpollDialler } from "./epoll/epoll-dialler.ts";
import { listenWithEpoll } from "./epoll/epoll-listener.ts";
import { type Native, probeNative } from "./epoll/native/probe.ts";
import { Reactor } from "./epoll/reactor.ts";
import { type BoundListener, listen, type ListenOptions } from "./listen.ts";
import { createPortableDialler } from "./portable-dialler.ts";

/** `auto` takes epoll where it works. */
export type IoChoice = "portable" | "epoll" | "auto";

export interface IoBackend {
  readonly name: "portable" | "epoll";
  listen(options: ListenOptions): Promise<BoundListener>;
  createDialler(options: DiallerOptions): Dialler;
}

export interface DiallerOptions {
  readonly log: Logger;
  /** SO_MARK of every connection. Dialling fails where it cannot be set. */
  readonly mark?: number;
}

/** Says in one line when epoll was wanted and cannot be had; the portable backend serves then. */
export function openIo(choice: IoChoice, clock: Clock, log: Logger): IoBackend {
  const portable = portableIo(clock);
  if (choice === "portable") return portable;
  const probe = probeNative();
  if (probe.kind === "absent") {
    log.warn("the epoll backend does not work here; the portable one serves", {
      reason: probe.reason,
    });
    return portable;
  }
  if (probe.native.openssl === undefined) {
    log.warn("OpenSSL cannot be reached from the epoll backend; TLS goes through Node's sockets");
  }
  return epollIo(openReactor(probe.native, log), clock);
}

function portableIo(clock: Clock): IoBackend {
  return {
    name: "portable",
    listen,
    createDialler: (options) => createPortableDialler({ clock, ...options }),
  };
}

function epollIo(reactor: Reactor, clock: Clock): IoBackend {
  return {
    name: "epoll",
    listen: async (options) => listenWithEpoll(reactor, clock, options),
    createDialler: ({ log, mark }) => {
      const other = createPortableDialler({ clock, log, ...(mark === undefined ? {} : { mark }) });
      return createEpollDialler({ reactor, clock, log, mark, other });
    },
  };
}

let reactor: Reactor | undefined;

/** One for the process: its memory is never given back. */
function openReactor(native: Native, log: Logger): Reactor {
  reactor ??= new Reactor(native, log);
  return reactor;
}
