/**
 * A `Channel` on a descriptor of our own: reads when epoll says so; writes at once, or what is short at
 * the end of the turn; waits for epoll only where the kernel takes no more. Tells what portable ones tell.
 */
import { Socket } from "node:net";
import os from "node:os";

import { assert } from "../../base/assert.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Deferred } from "../../base/turn-end.ts";
import type { ByteMeter, Channel, ChannelError, ChannelHandler, TlsSession } from "../channel.ts";
import { type ByteStream, isPassing, PlainStream, wantsWrite } from "./byte-stream.ts";
import type { EpollChannelOptions, Surrendered } from "./channel-options.ts";
import type { Block } from "./native/block.ts";
import { placeBytes, type Sender } from "./outbox.ts";
import { readable, type Reactor, type Watched, writable } from "./reactor.ts";
import { channelError, setLinger, sslErrorCode } from "./socket-address.ts";
import { shortBytesMax, WriteQueue, writeOnce } from "./write-queue.ts";

const { EAGAIN, EINTR } = os.constants.errno;

/** Reads of one connection in one turn, each up to a slab: others wait meanwhile. */
const readsMax = 4;
/** What may wait although `write` said false; the connection is reset beyond it. */
const queuedBytesMax = 64 * 1024 * 1024;
/** Interest of a connection that epoll has been told to forget for now. */
const parked = -1;

export class EpollChannel implements Channel, Watched, Deferred, Sender {
  handler: ChannelHandler;
  meter: ByteMeter | undefined = undefined;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly originalDestination: SocketAddress;
  readonly tls: TlsSession | undefined;
  readonly #options: EpollChannelOptions;
  readonly #reactor: Reactor;
  readonly #fd: number;
  readonly #stream: ByteStream;
  readonly #queue: WriteQueue;
  /** Where a message waits for the end of the turn; the queue is empty then. */
  #place: Block | undefined;
  #placedBytes = 0;
  #interest: number;
  #corks = 0;
  #isPaused = false;
  #hasEnded = false;
  #isEnding = false;
  #isShut = false;
  #needsDrain = false;
  #isClosed = false;
  #isReported = false;
  /** The stream may hold bytes that epoll does not tell of. */
  #mayHold: boolean;
  /** A read waits for room to write. */
  #readsOnRoom = false;
  /** Who ends the connection since it was given up. */
  #successor: { destroy(): void } | undefined;
  #error: ChannelError | undefined;

  /** `interest` is what the descriptor is already watched for; undefined where it is not yet. */
  constructor(options: EpollChannelOptions, interest: number | undefined) {
    const { reactor, fd } = options;
    this.#options = options;
    this.#reactor = reactor;
    this.#fd = fd;
    this.#queue = new WriteQueue(reactor.chunks);
    this.#stream = options.stream ?? new PlainStream(reactor.syscalls, fd);
    this.tls = options.tls;
    this.#mayHold = this.#stream.buffers;
    this.handler = options.handler;
    this.local = options.local;
    this.remote = options.remote;
    this.originalDestination = options.originalDestination ?? options.local;
    this.#interest = interest ?? parked;
    if (interest !== undefined) reactor.handOver(fd, this);
    this.#arm(readable);
    if (this.#mayHold) reactor.defer(this);
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || this.#isEnding || bytes.length === 0) return true;
    this.meter?.sent.add(bytes.length);
    const sent = this.#writeNow(bytes, bytes.length);
    return sent === bytes.length || this.#enqueue(sent === 0 ? bytes : bytes.subarray(sent), false);
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    if (this.#isClosed || this.#isEnding || length === 0) return true;
    this.meter?.sent.add(length);
    if (length <= placeBytes && this.#mayPlace()) {
      const place = this.#reactor.outbox.take(this);
      place.put(memory, length);
      this.#place = place;
      this.#placedBytes = length;
      return true;
    }
    const sent = this.#writeNow(memory, length);
    return sent === length || this.#enqueue(memory.subarray(sent, length), true);
  }

  /** A second message of a turn finds the first on its way; and no watermark is passed by a place. */
  #mayPlace(): boolean {
    return (
      this.#reactor.isInTurn &&
      this.#place === undefined &&
      this.#queue.bytes === 0 &&
      this.#corks === 0 &&
      this.#options.writeQueueBytesMax > placeBytes
    );
  }

  sendPlaced(): void {
    const place = this.#place;
    if (place === undefined) return;
    this.#place = undefined;
    const length = this.#placedBytes;
    const count = this.#stream.write(place, length);
    if (count === length || this.#isClosed) return;
    if (count < 0 && !isPassing(count)) this.#failed("write", count);
    else this.#enqueue(place.bytes.subarray(Math.max(0, count), length), true);
  }

  /** How many bytes nobody need keep: what the kernel took, or all where there is no connection left. */
  #writeNow(memory: Uint8Array, length: number): number {
    this.sendPlaced();
    if (this.#isClosed) return length;
    if (this.#queue.bytes > 0 || this.#corks > 0) return 0;
    const count = writeOnce(this.#stream, this.#reactor, memory, length);
    if (count >= 0 || isPassing(count)) return Math.max(0, count);
    this.#failed("write", count);
    return length;
  }

  /** False when the high watermark is passed. `isShared`: the memory is the caller's. */
  #enqueue(bytes: Uint8Array, isShared: boolean): boolean {
    const queue = this.#queue;
    const isFirst = queue.bytes === 0;
    if (isShared) queue.pushCopy(bytes);
    else queue.push(bytes);
    if (isFirst && this.#corks === 0) {
      // TLS is given no more at once than fits the slab, so none of this was offered yet.
      if (bytes.length > this.#reactor.writeSlab.bytes.length) this.#flush();
      else this.#want(writable);
    }
    if (queue.bytes > queuedBytesMax) {
      this.fail({ code: "write-queue-full", message: "too much waits to be sent" });
    } else if (queue.bytes >= this.#options.writeQueueBytesMax) {
      this.#needsDrain = true;
      return false;
    }
    return true;
  }

  cork(): void {
    this.sendPlaced();
    this.#corks++;
  }

  uncork(): void {
    if (this.#corks === 0) return;
    if (--this.#corks > 0 || this.#isClosed || this.#queue.bytes === 0) return;
    this.#flush();
    if (this.#needsDrain && this.#queue.bytes === 0) this.#reactor.defer(this);
  }

  end(): void {
    this.sendPlaced();
    if (this.#isClosed || this.#isEnding) return;
    this.#isEnding = true;
    this.#corks = 0;
    if (this.#queue.bytes > 0) this.#flush();
    else this.#shutdown();
  }

  destroy(how?: "reset"): void {
    this.#successor?.destroy();
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
    if (this.#isClosed || this.#hasEnded) return;
    this.#want(readable);
    if (this.#mayHold) this.#reactor.defer(this);
  }

  get queuedBytes(): number {
    return this.#queue.bytes + (this.#place === undefined ? 0 : this.#placedBytes);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Gives the connection up as a paused Node socket; this channel is dead from here on. */
  release(): Socket {
    this.sendPlaced();
    assert(!this.#isClosed, "release of a closed channel");
    assert(this.#queue.bytes === 0, "release of a channel with bytes to send");
    this.#isClosed = true;
    this.#reactor.giveUp(this.#fd);
    // Node reads from an adopted descriptor at once, unless told not to.
    const { onGone, writeQueueBytesMax: highWaterMark } = this.#options;
    const options = { fd: this.#fd, allowHalfOpen: true, manualStart: true, highWaterMark };
    const socket = new Socket(options);
    this.#successor = socket;
    if (onGone !== undefined) socket.once("close", onGone);
    return socket;
  }

  /** Gives the connection up to `successor`, which `destroy()` of this dead channel ends from now on. */
  surrender(successor: { destroy(): void }): Surrendered {
    this.sendPlaced();
    assert(!this.#isClosed, "surrender of a closed channel");
    assert(this.#queue.bytes === 0, "surrender of a channel with bytes to send");
    this.#isClosed = true;
    this.#successor = successor;
    const options = this.#options;
    const { onGone } = options;
    return {
      fd: this.#fd,
      interest: this.#interest === parked ? undefined : this.#interest,
      options,
      close: () => {
        this.#reactor.close(this.#fd);
        if (onGone !== undefined) this.#reactor.defer({ runDeferred: onGone });
      },
    };
  }

  get reactor(): Reactor {
    return this.#reactor;
  }

  onEvents(isReadable: boolean, isWritable: boolean, isOver: boolean): void {
    const hasRoom = isWritable && this.#readsOnRoom;
    if (isWritable) {
      this.#flush();
      this.#tellDrained();
    }
    if (this.#isClosed || !(isReadable || isOver || hasRoom)) return;
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
        if (this.#mayHold && !this.#isClosed && !this.#isPaused && !this.#hasEnded) this.#read();
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
    const { readSlab } = this.#reactor;
    const stream = this.#stream;
    const slabBytes = readSlab.bytes.length;
    this.#readsOnRoom = false;
    for (let reads = 0; reads < readsMax; reads++) {
      const count = stream.read(readSlab, slabBytes);
      if (count > 0) {
        this.meter?.received.add(count);
        this.handler.onData(readSlab.view(count));
        // Whoever kept the chunk sees zeros, and notices.
        readSlab.wipe(Math.min(count, shortBytesMax));
        if (this.#isClosed || this.#isPaused) break;
        if (stream.buffers ? !stream.holds() : count < slabBytes) {
          this.#mayHold = false;
          return;
        }
      } else if (count === 0) {
        this.#onEnd();
        return;
      } else if (count !== -EINTR) {
        this.#mayHold = false;
        if (count === wantsWrite) {
          this.#readsOnRoom = true;
          this.#want(writable);
        } else if (count !== -EAGAIN) this.#failed("read", count);
        return;
      }
    }
    // Stopped before the stream was empty: epoll knows only of what is still in the socket.
    this.#mayHold = stream.buffers;
    if (this.#mayHold && !this.#isClosed && !this.#isPaused) this.#reactor.defer(this);
  }

  #failed(call: string, status: number): void {
    const { detail = "" } = this.#stream;
    if (detail === "") this.fail(channelError(call, status));
    else this.fail({ code: sslErrorCode(detail), message: `${call}: ${detail}` });
  }

  #onEnd(): void {
    this.#hasEnded = true;
    this.#unwant(readable);
    this.handler.onEnd();
    if (this.#isShut) this.#close(undefined);
  }

  #flush(): void {
    if (this.#corks > 0) return;
    const { writeSlab } = this.#reactor;
    const queue = this.#queue;
    const status = queue.flush(this.#stream, writeSlab);
    if (status < 0) return this.#failed("write", status);
    if (queue.bytes > 0) return this.#want(writable);
    this.#unwant(writable);
    if (this.#isEnding && !this.#isShut) this.#shutdown();
  }

  #shutdown(): void {
    this.#isShut = true;
    this.#stream.end();
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
    // What was taken before leaves, unless the connection has failed.
    if (error === undefined || error.code === "fault") this.sendPlaced();
    this.#place = undefined;
    this.#queue.clear();
    this.#stream.free();
    this.#reactor.close(this.#fd);
    this.#reactor.defer(this);
  }
}
