/**
 * The thread that accepts: opens listening sockets and gives each connection to the thread that has
 * the fewest. Nobody is given any for a listener before it has said that it serves it.
 */
import type { Clock } from "../../base/clock.ts";
import { type BoundListener, type ListenOptions, pipeOf } from "../listen.ts";
import { AcceptSocket, openListeningSocket } from "./accept-socket.ts";
import { ConnectionRing } from "./connection-ring.ts";
import { DescriptorTable } from "./descriptor-table.ts";
import type { Block } from "./native/block.ts";
import type { Reactor } from "./reactor.ts";
import { addressIn } from "./socket-address.ts";

/** How long nothing is accepted when every thread has as much before it as its ring holds. */
const fullMs = 5;
/** How long a process that ends waits for a thread that is busy. */
const endMs = 1000;

/** A thread that serves, as the one that accepts sees it. */
export interface Receiver {
  readonly life: number;
  readonly ring: ConnectionRing;
  /** Wakes it; known once it runs. */
  eventfd: number | undefined;
  /** It does not look at what it is given: others come first. */
  isSilent: boolean;
  /** Its number for each listener it serves, by key. */
  readonly listeners: Map<string, number>;
}

/** What tells listening sockets apart, on both sides. */
export function listenerKey({ name = "", on, readsOriginalDestination }: ListenOptions): string {
  const where = on.kind === "descriptor" ? `fd ${on.fd}` : `${on.address} ${on.port}`;
  return `${name} ${where} ${readsOriginalDestination}`;
}

export class ConnectionGiver {
  readonly descriptors: DescriptorTable = new DescriptorTable();
  readonly #reactor: Reactor;
  readonly #clock: Clock;
  readonly #receivers = new Set<Receiver>();
  readonly #doors = new Set<Door>();
  readonly #one: Block;
  #lastLife = 0;
  #closesUnserved = false;

  constructor(reactor: Reactor, clock: Clock) {
    this.#reactor = reactor;
    this.#clock = clock;
    this.#one = reactor.syscalls.allocate(8);
    this.#one.bytes.writeBigUInt64LE(1n, 0);
    // A thread that is cut off with its loop's handle open ends the process with SIGABRT.
    process.once("exit", () => this.#endAll());
  }

  /** For a thread that is about to start. */
  enlist(): Receiver {
    const receiver: Receiver = {
      life: ++this.#lastLife,
      ring: new ConnectionRing(),
      eventfd: undefined,
      isSilent: false,
      listeners: new Map(),
    };
    this.#receivers.add(receiver);
    return receiver;
  }

  /** From now on a socket closes when nobody serves it any more, where it would wait for somebody. */
  closeUnserved(): void {
    this.#closesUnserved = true;
  }

  /** It serves a listener from now on, or no longer. */
  setServing(receiver: Receiver, key: string, listener: number | undefined): void {
    if (listener === undefined) receiver.listeners.delete(key);
    else receiver.listeners.set(key, listener);
    for (const door of this.#doors) if (door.key === key) this.#update(door);
  }

  /**
   * The thread has ended, and runs no more: what it had not looked at goes to others, the rest of its
   * connections is closed. How many were closed.
   */
  dismiss(receiver: Receiver): number {
    this.#receivers.delete(receiver);
    const { ring, life } = receiver;
    const keys = new Map([...receiver.listeners].map(([key, number]) => [number, key]));
    for (let next = ring.take(); next !== undefined; next = ring.take()) {
      const { fd, listener, peer } = next;
      const isGiven = this.#give(fd, keys.get(listener) ?? "", peer);
      if (!isGiven) this.descriptors.give(fd, life);
    }
    const left = this.descriptors.takeOf(life);
    for (const fd of left) this.#reactor.syscalls.close(fd);
    for (const door of this.#doors) this.#update(door);
    return left.length;
  }

  /** Throws `listen-failed`. Nothing is accepted before `serve()`. */
  listen(options: ListenOptions): BoundListener {
    const key = listenerKey(options);
    const socket = new AcceptSocket({
      reactor: this.#reactor,
      clock: this.#clock,
      socket: openListeningSocket(this.#reactor, options),
      listening: options,
      onAccepted: (fd) => this.#onAccepted(door, fd),
    });
    const door: Door = { key, socket, hasPeers: pipeOf(options) === undefined, isServed: false };
    this.#doors.add(door);
    return {
      address: socket.address,
      serve: () => {
        door.isServed = true;
        this.#update(door);
      },
      close: async () => {
        this.#doors.delete(door);
        socket.close();
      },
    };
  }

  /** The process ends without having closed what it had: by a fault, or on a whim. */
  #endAll(): void {
    for (const { ring, eventfd } of this.#receivers) {
      ring.askToEnd();
      if (eventfd !== undefined) this.#reactor.syscalls.write(eventfd, this.#one, 8);
    }
    for (const { ring, eventfd } of this.#receivers) {
      if (eventfd !== undefined) ring.waitForEnd(endMs);
    }
  }

  #update({ key, socket, isServed }: Door): void {
    if (isServed && this.#receivers.values().some(({ listeners }) => listeners.has(key))) {
      socket.resume();
    } else if (isServed && this.#closesUnserved) {
      socket.close();
    } else {
      socket.rest();
    }
  }

  #onAccepted({ key, socket, hasPeers }: Door, fd: number): void {
    const { addressSlab } = this.#reactor;
    // Gone before we looked: there is no peer to speak of.
    if (hasPeers && addressIn(this.#reactor).address === "") this.#reactor.syscalls.close(fd);
    else if (!this.#give(fd, key, addressSlab.bytes)) {
      this.#reactor.syscalls.close(fd);
      socket.restFor(fullMs);
    } else if (!this.#hasRoom(key)) socket.restFor(fullMs);
  }

  #hasRoom(key: string): boolean {
    return this.#receivers
      .values()
      .some(({ listeners, ring }) => listeners.has(key) && ring.hasRoom);
  }

  #give(fd: number, key: string, peer: Uint8Array): boolean {
    let best: Receiver | undefined;
    for (const receiver of this.#receivers) {
      if (!receiver.listeners.has(key) || !receiver.ring.hasRoom) continue;
      if (best === undefined || isBetter(receiver, best)) best = receiver;
    }
    const listener = best?.listeners.get(key);
    if (best === undefined || listener === undefined) return false;
    if (!this.descriptors.give(fd, best.life)) return false;
    best.ring.put(fd, listener, peer);
    if (best.ring.mustWake() && best.eventfd !== undefined) {
      this.#reactor.syscalls.write(best.eventfd, this.#one, 8);
    }
    return true;
  }
}

function isBetter(one: Receiver, other: Receiver): boolean {
  if (one.isSilent !== other.isSilent) return other.isSilent;
  return one.ring.open < other.ring.open;
}

interface Door {
  readonly key: string;
  readonly socket: AcceptSocket;
  /** Who connects has an address. */
  readonly hasPeers: boolean;
  isServed: boolean;
}
