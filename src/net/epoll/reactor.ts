/**
 * One epoll set, watched by Node's loop. Whoever has a descriptor registers it and is told its
 * events. A late event cannot reach another connection that got the same number: every registration
 * has a generation, which epoll brings back with the event.
 */
import { assert } from "../../base/assert.ts";
import { messageOf } from "../../base/error.ts";
import type { Deferred, TurnEnd } from "../../base/turn-end.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { DescriptorLedger } from "./descriptor-table.ts";
import type { KeptSockets } from "./kept-sockets.ts";
import { ChunkPool } from "./chunk-pool.ts";
import type { Block } from "./native/block.ts";
import { epollEventBytes, epollFdWord, type Syscalls } from "./native/libc.ts";
import type { LoopWatch } from "./native/node-loop.ts";
import type { OpenSsl } from "./native/openssl.ts";
import type { Native } from "./native/probe.ts";
import { Outbox } from "./outbox.ts";

export const readable = 0x001;
export const writable = 0x004;
const failed = 0x008;
const hungUp = 0x010;

/** What owns a descriptor. */
export interface Watched {
  /** `isOver`: the connection failed or both directions ended; told whether asked for or not. */
  onEvents(isReadable: boolean, isWritable: boolean, isOver: boolean): void;
  /** `onEvents` threw: our mistake. */
  onFault(thrown: unknown): void;
}

/** Taken from the kernel in one go; the rest comes in the next turn. */
const eventsMax = 512;
/** Times that one turn asks for more before Node's own work has its turn. */
const roundsMax = 4;
/** Bytes of one read; Node's own reads are as large. */
const slabBytes = 64 * 1024;

export class Reactor implements TurnEnd {
  readonly syscalls: Syscalls;
  /** Undefined where TLS must be left to Node. */
  readonly openssl: OpenSsl | undefined;
  /** Every read lands here, and is gone when its handler has returned. */
  readonly readSlab: Block;
  /** Small chunks that leave together are laid side by side here. */
  readonly writeSlab: Block;
  /** What is put into it during a turn leaves at its end; to be used only then. */
  readonly outbox: Outbox;
  /** For what waits until the kernel takes more. */
  readonly chunks: ChunkPool = new ChunkPool();
  /** For socket addresses. */
  readonly addressSlab: Block;
  #ledger: DescriptorLedger | undefined;
  /** Where listening sockets are to outlive this process. */
  kept: KeptSockets | undefined;
  readonly #epoll: number;
  readonly #events: Block;
  readonly #words: Int32Array;
  readonly #log: Logger;
  readonly #watch: LoopWatch;
  /** By descriptor; the process's limit of descriptors bounds them. */
  readonly #watched: (Watched | undefined)[] = [];
  readonly #generations: number[] = [];
  #count = 0;
  #deferred: Deferred[] = [];
  #isDeferredDue = false;
  #isInTurn = false;

  /** Throws when the kernel gives no epoll set. */
  constructor(native: Native, log: Logger) {
    const { syscalls } = native;
    this.syscalls = syscalls;
    this.openssl = native.openssl;
    this.#log = log;
    this.readSlab = syscalls.allocate(slabBytes);
    this.writeSlab = syscalls.allocate(slabBytes);
    this.outbox = new Outbox(syscalls);
    this.addressSlab = syscalls.allocate(128);
    this.#events = syscalls.allocate(eventsMax * epollEventBytes);
    this.#words = new Int32Array(this.#events.bytes.buffer);
    this.#epoll = syscalls.epollCreate();
    assert(this.#epoll >= 0, "no epoll set");
    this.#watch = native.watch(this.#epoll, () => this.#turn());
  }

  /** Descriptors that are watched. */
  get size(): number {
    return this.#count;
  }

  /** Every descriptor of this thread is written down there from now on, the set's own too. */
  keep(ledger: DescriptorLedger): void {
    this.#ledger = ledger;
    ledger.own(this.#epoll);
  }

  /** 0, or the negative error number: then nothing is watched. */
  add(fd: number, watched: Watched, events: number): number {
    assert(this.#watched[fd] === undefined, "a descriptor is watched twice");
    this.#ledger?.own(fd);
    const generation = ((this.#generations[fd] ?? 0) + 1) | 0;
    const change = { operation: "add", fd, events, generation } as const;
    const status = this.syscalls.epollControl(this.#epoll, change);
    if (status < 0) return status;
    while (this.#watched.length <= fd) {
      this.#watched.push(undefined);
      this.#generations.push(0);
    }
    this.#watched[fd] = watched;
    this.#generations[fd] = generation;
    if (this.#count++ === 0) this.#watch.hold(true);
    return 0;
  }

  modify(fd: number, events: number): void {
    const generation = this.#generations[fd] ?? 0;
    this.syscalls.epollControl(this.#epoll, { operation: "modify", fd, events, generation });
  }

  /** Its events go to another owner from now on. */
  handOver(fd: number, watched: Watched): void {
    assert(this.#watched[fd] !== undefined, "a descriptor is not watched");
    this.#watched[fd] = watched;
  }

  /** Nothing more is told of it, what was fetched already included; the descriptor stays open. */
  remove(fd: number): void {
    if (this.#watched[fd] === undefined) return;
    const change = { operation: "delete", fd, events: 0, generation: 0 } as const;
    this.syscalls.epollControl(this.#epoll, change);
    this.#forget(fd);
  }

  /** Closes the descriptor, with which the kernel takes it out of the set. */
  close(fd: number): void {
    this.#forget(fd);
    this.#ledger?.disown(fd);
    this.syscalls.close(fd);
  }

  /** Somebody else watches and closes it from now on. */
  giveUp(fd: number): void {
    this.remove(fd);
    this.#ledger?.disown(fd);
  }

  #forget(fd: number): void {
    if (this.#watched[fd] === undefined) return;
    this.#watched[fd] = undefined;
    if (--this.#count === 0) this.#watch.hold(false);
  }

  /** Runs at the end of this turn, or soon where there is none; never during the call. */
  defer(deferred: Deferred): void {
    this.#deferred.push(deferred);
    if (this.#isInTurn || this.#isDeferredDue) return;
    this.#isDeferredDue = true;
    queueMicrotask(this.#onDeferredDue);
  }

  /** One for all: a closure in `defer()` would cost every call a context. */
  readonly #onDeferredDue = (): void => {
    this.#isDeferredDue = false;
    this.#runDeferred();
  };

  get isInTurn(): boolean {
    return this.#isInTurn;
  }

  #turn(): void {
    this.#isInTurn = true;
    for (let round = 0; round < roundsMax; round++) {
      const count = this.syscalls.epollWait(this.#epoll, this.#events, eventsMax);
      for (let i = 0; i < count; i++) this.#tell(i);
      this.#runDeferred();
      this.outbox.sendAll();
      if (count < eventsMax) break;
    }
    this.#isInTurn = false;
    if (this.#deferred.length > 0) this.defer(afterTurn);
  }

  #tell(index: number): void {
    const at = (index * epollEventBytes) / 4;
    const words = this.#words;
    const mask = words[at] ?? 0;
    const fd = words[at + epollFdWord] ?? -1;
    const watched = this.#watched[fd];
    if (watched === undefined || words[at + epollFdWord + 1] !== this.#generations[fd]) return;
    try {
      const isOver = (mask & (failed | hungUp)) !== 0;
      watched.onEvents((mask & readable) !== 0, (mask & writable) !== 0, isOver);
    } catch (thrown) {
      watched.onFault(thrown);
    }
  }

  /** Only what is there now: what this defers in turn may wait, or a loop of retries would never end. */
  #runDeferred(): void {
    if (this.#deferred.length === 0) return;
    const due = this.#deferred;
    this.#deferred = [];
    for (const deferred of due) {
      try {
        deferred.runDeferred();
      } catch (thrown) {
        this.#log.error("work after a turn failed", { detail: messageOf(thrown) });
      }
    }
  }
}

const afterTurn: Deferred = { runDeferred: () => {} };
