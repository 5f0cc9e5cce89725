/**
 * A `Channel` on a descriptor of our own: reads when epoll says so, writes at once and waits for
 * epoll only where the kernel takes no more. What it tells its handler, and when, is what the
 * portable backend's channel tells.
 */
import { Socket } from "node:net";
import os from "node:os";

import { assert } from "../../base/assert.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel, ChannelError, ChannelHandler } from "../channel.ts";
import { type Deferred, readable, type Reactor, type Watched, writable } from "./reactor.ts";
import { channelError, setLinger } from "./socket-address.ts";
import { WriteQueue } from "./write-queue.ts";

const { EAGAIN, EINTR } = os.constants.errno;

/** Reads of one connection in one turn, each up to a slab: others wait meanwhile. */
const readsMax = 4;
/** What may wait although `write` said false; the connection is reset beyond it. */
const queuedBytesMax = 64 * 1024 * 1024;
/** Interest of a connection that epoll has been told to forget for now. */
const parked = -1;

export interface EpollChannelOptions {
  readonly reactor: Reactor;
  readonly fd: number;
  readonly handler: ChannelHandler;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly originalDestination?: SocketAddress;
  /** `write` says false from here on. */
  readonly writeQueueBytesMax: number;
  /** A handler threw: our mistake. The connection is already being closed. */
  readonly onFault: (thrown: unknown) => void;
  /** The connection is gone, also where it was released and ended elsewhere. */
  readonly onGone?: () => void;
}

export class EpollChannel implements Channel, Watched, Deferred {
  handler: ChannelHandler;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly originalDestination: SocketAddress;
  readonly tls = undefined;
  readonly #options: EpollChannelOptions;
  readonly #reactor: Reactor;
  readonly #fd: number;
  readonly #queue = new WriteQueue();
  readonly #highWater: number;
  #interest: number;
  #corks = 0;
  #isPaused = false;
  #hasEnded = false;
  #isEnding = false;
  #isShut = false;
  #needsDrain = false;
  #isClosed = false;
  #isReported = false;
  #error: ChannelError | undefined;

  /** `interest` is what the descriptor is already watched for; undefined where it is not yet. */
  constructor(options: EpollChannelOptions, interest: number | undefined) {
    const { reactor, fd } = options;
    this.#options = options;
    this.#reactor = reactor;
    this.#fd = fd;
    this.#highWater = options.writeQueueBytesMax;
    this.handler = options.handler;
    this.local = options.local;
    this.remote = options.remote;
    this.originalDestination = options.originalDestination ?? options.local;
    this.#interest = interest ?? parked;
    if (interest !== undefined) reactor.handOver(fd, this);
    this.#arm(readable);
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || this.#isEnding || bytes.length === 0) return true;
    const queue = this.#queue;
    if (queue.bytes === 0 && this.#corks === 0) {
      const left = this.#writeNow(bytes);
      if (left === undefined) return true;
      queue.push(left);
      this.#want(writable);
    } else {
      queue.push(bytes);
    }
    if (queue.bytes > queuedBytesMax) {
      this.fail({ code: "write-queue-full", message: "too much waits to be sent" });
    } else if (queue.bytes >= this.#highWater) {
      this.#needsDrain = true;
      return false;
    }
    return true;
  }

  /** What the kernel did not take; undefined when nothing is left, or nobody to send it to. */
  #writeNow(bytes: Uint8Array): Uint8Array | undefined {
    const { syscalls, writeSlab } = this.#reactor;
    const length = bytes.length;
    const room = writeSlab.bytes;
    let count: number;
    if (length <= room.length) {
      room.set(bytes);
      count = syscalls.write(this.#fd, writeSlab, length);
    } else {
      count = syscalls.writeVector(this.#fd, [bytes]);
    }
    if (count === length) return undefined;
    if (count >= 0) return bytes.subarray(count);
    if (count === -EAGAIN || count === -EINTR) return bytes;
    this.fail(channelError("write", count));
    return undefined;
  }

  cork(): void {
    this.#corks++;
  }

  uncork(): void {
    if (this.#corks === 0) return;
    if (--this.#corks > 0 || this.#isClosed || this.#queue.bytes === 0) return;
    this.#flush();
    if (this.#needsDrain && this.#queue.bytes === 0) this.#reactor.defer(this);
  }

  end(): void {
    if (this.#isClosed || this.#isEnding) return;
    this.#isEnding = true;
    this.#corks = 0;
    if (this.#queue.bytes > 0) this.#flush();
    else this.#shutdown();
  }

  destroy(how?: "reset"): void {
    if (this.#isClosed) return;
    if (how === "reset") setLinger(this.#reactor, this.#fd);
    this.#close(undefined);
  }

  /** Closes at once for a reason of ours, which `onClose` then tells. */
  fail(error: ChannelError): void {
    this.#close(error);
  }

  /** Lazily: epoll is told only when something comes, which a short pause does not wait for. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (!this.#isClosed && !this.#hasEnded) this.#want(readable);
  }

  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Gives the connection up as a paused Node socket; this channel is dead from here on. */
  release(): Socket {
    assert(!this.#isClosed, "release of a closed channel");
    assert(this.#queue.bytes === 0, "release of a channel with bytes to send");
    this.#isClosed = true;
    this.#reactor.remove(this.#fd);
    // Node reads from an adopted descriptor at once, unless told not to.
    const { onGone, writeQueueBytesMax: highWaterMark } = this.#options;
    const options = { fd: this.#fd, allowHalfOpen: true, manualStart: true, highWaterMark };
    const socket = new Socket(options);
    if (onGone !== undefined) socket.once("close", onGone);
    return socket;
  }

  onEvents(isReadable: boolean, isWritable: boolean, isOver: boolean): void {
    if (isWritable) {
      this.#flush();
      this.#tellDrained();
    }
    if (this.#isClosed || !(isReadable || isOver)) return;
    if (!this.#isPaused && !this.#hasEnded) {
      this.#read();
    } else if (isOver) {
      // Always reported, asked for or not: forget it until somebody wants to read or write.
      this.#park();
    } else {
      this.#unwant(readable);
    }
  }

  onFault(thrown: unknown): void {
    this.#close({ code: "fault", message: "a handler of this connection failed" });
    this.#options.onFault(thrown);
  }

  /** What its handler must hear, now that no call of its own is under way. */
  runDeferred(): void {
    if (this.#isReported) return;
    try {
      if (!this.#isClosed) {
        this.#tellDrained();
        return;
      }
      this.#isReported = true;
      this.handler.onClose(this.#error);
    } catch (thrown) {
      this.onFault(thrown);
    }
    if (this.#isReported) this.#options.onGone?.();
  }

  #tellDrained(): void {
    if (!this.#needsDrain || this.#isClosed || this.#queue.bytes > 0) return;
    this.#needsDrain = false;
    this.handler.onDrain();
  }

  #read(): void {
    const { syscalls, readSlab } = this.#reactor;
    const slab = readSlab.bytes;
    for (let reads = 0; reads < readsMax; reads++) {
      const count = syscalls.read(this.#fd, readSlab, slab.length);
      if (count > 0) {
        this.handler.onData(slab.subarray(0, count));
        // Whoever kept the chunk sees zeros, and notices.
        slab.fill(0, 0, count);
        if (count < slab.length || this.#isClosed || this.#isPaused) return;
      } else if (count === 0) {
        this.#onEnd();
        return;
      } else if (count !== -EINTR) {
        if (count !== -EAGAIN) this.fail(channelError("read", count));
        return;
      }
    }
  }

  #onEnd(): void {
    this.#hasEnded = true;
    this.#unwant(readable);
    this.handler.onEnd();
    if (this.#isShut) this.#close(undefined);
  }

  #flush(): void {
    if (this.#corks > 0) return;
    const { syscalls, writeSlab } = this.#reactor;
    const queue = this.#queue;
    const status = queue.flush(this.#fd, syscalls, writeSlab);
    if (status < 0) {
      this.fail(channelError("write", status));
      return;
    }
    if (queue.bytes > 0) {
      this.#want(writable);
      return;
    }
    this.#unwant(writable);
    if (this.#isEnding && !this.#isShut) this.#shutdown();
  }

  #shutdown(): void {
    this.#isShut = true;
    // A connection that has failed says so when it is read.
    this.#reactor.syscalls.shutdownWrite(this.#fd);
    if (this.#hasEnded) this.#close(undefined);
  }

  #want(event: number): void {
    this.#arm(this.#interest === parked ? event : this.#interest | event);
  }

  #unwant(event: number): void {
    if (this.#interest !== parked) this.#arm(this.#interest & ~event);
  }

  #arm(interest: number): void {
    if (interest === this.#interest) return;
    if (this.#interest === parked) {
      const status = this.#reactor.add(this.#fd, this, interest);
      if (status < 0) {
        this.fail(channelError("epoll_ctl", status));
        return;
      }
    } else {
      this.#reactor.modify(this.#fd, interest);
    }
    this.#interest = interest;
  }

  #park(): void {
    if (this.#interest === parked) return;
    this.#reactor.remove(this.#fd);
    this.#interest = parked;
  }

  #close(error: ChannelError | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#error = error;
    this.#queue.clear();
    this.#reactor.close(this.#fd);
    this.#reactor.defer(this);
  }
}
