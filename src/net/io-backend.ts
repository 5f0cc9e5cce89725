/**
 * Who does the data plane's I/O: the portable backend (Node's sockets, every platform) or the epoll
 * backend (Linux, system calls through `node:ffi`). Both keep the same promises.
 */
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { TurnEnd } from "../base/turn-end.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Dialler } from "./dialler.ts";
import { ConnectionGiver, type Receiver } from "./epoll/connection-giver.ts";
import { ConnectionRing } from "./epoll/connection-ring.ts";
import { ConnectionTaker, type ConnectionTakerOptions } from "./epoll/connection-taker.ts";
import { DescriptorTable } from "./epoll/descriptor-table.ts";
import { createEpollDialler } from "./epoll/epoll-dialler.ts";
import { listenWithEpoll } from "./epoll/epoll-listener.ts";
import { type Native, probeNative } from "./epoll/native/probe.ts";
import { Reactor } from "./epoll/reactor.ts";
import { type BoundListener, listen, type ListenOptions } from "./listen.ts";
import { nodeTurnEnd } from "./portable/turn-end.ts";
import { createPortableDialler } from "./portable-dialler.ts";
import { adoptTicketSeed, type TicketSeed } from "./tls/ticket-keys.ts";

export type { Receiver };
export { type TicketSeed, ticketSeed } from "./tls/ticket-keys.ts";

/** `auto` takes epoll where it works. */
export type IoChoice = "portable" | "epoll" | "auto";

export interface IoBackend {
  readonly name: "portable" | "epoll";
  listen(options: ListenOptions): Promise<BoundListener>;
  createDialler(options: DiallerOptions): Dialler;
  readonly turnEnd: TurnEnd;
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

/** The accepting end of a process whose connections are served by threads of it. */
export interface AcceptingIo extends IoBackend {
  readonly giver: ConnectionGiver;
}

/** Undefined where this backend cannot work: then threads cannot share connections. */
export function openAcceptingIo(clock: Clock, log: Logger): AcceptingIo | undefined {
  const probe = probeNative();
  if (probe.kind === "absent") {
    log.warn("data workers need the epoll backend, which does not work here", {
      reason: probe.reason,
    });
    return undefined;
  }
  const shared = openReactor(probe.native, log);
  const giver = new ConnectionGiver(shared, clock);
  return { ...epollIo(shared, clock), listen: async (options) => giver.listen(options), giver };
}

export interface ServingIo extends IoBackend {
  /** To be told to the accepting end, which wakes this thread by it. */
  readonly eventfd: number;
  /** Tells the accepting end that this thread's loop turns, and how large its heap is. */
  beat(heapBytes?: number): void;
  close(): void;
}

export interface ServingIoOptions extends Omit<ConnectionTakerOptions, "reactor" | "ring"> {
  /** Memory of the giver's receiver and of its table. */
  readonly ring: SharedArrayBuffer;
  readonly descriptors: SharedArrayBuffer;
  readonly life: number;
  /** The accepting end's, so that either opens what the other has sealed. */
  readonly tickets: TicketSeed;
}

/** The other end, in a thread of its own. The accepting end has found out that it works here. */
export function openServingIo(options: ServingIoOptions): ServingIo {
  const { clock, log, life, tickets } = options;
  adoptTicketSeed(tickets);
  const probe = probeNative();
  assert(probe.kind === "present", "the epoll backend worked in another thread");
  const own = openReactor(probe.native, log);
  own.keep(new DescriptorTable(options.descriptors).ledgerOf(life));
  const ring = new ConnectionRing(options.ring);
  const taker = new ConnectionTaker({ ...options, reactor: own, ring });
  return {
    ...epollIo(own, clock),
    listen: async (listening) => taker.listen(listening),
    eventfd: taker.eventfd,
    beat: (heapBytes) => {
      ring.beat();
      if (heapBytes !== undefined) ring.tellHeap(heapBytes);
    },
    close: () => taker.close(),
  };
}

function portableIo(clock: Clock): IoBackend {
  return {
    name: "portable",
    listen,
    turnEnd: nodeTurnEnd,
    createDialler: (options) => createPortableDialler({ clock, ...options }),
  };
}

function epollIo(reactor: Reactor, clock: Clock): IoBackend {
  return {
    name: "epoll",
    turnEnd: reactor,
    listen: async (options) => listenWithEpoll(reactor, clock, options),
    createDialler: ({ log, mark }) => {
      const other = createPortableDialler({ clock, log, ...(mark === undefined ? {} : { mark }) });
      return createEpollDialler({ reactor, clock, log, mark, other });
    },
  };
}

let reactor: Reactor | undefined;

/** One for each thread: its memory is never given back. */
export function openReactor(native: Native, log: Logger): Reactor {
  reactor ??= new Reactor(native, log);
  return reactor;
}
