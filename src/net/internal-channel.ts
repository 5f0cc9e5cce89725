/**
 * A connection inside the process, without a socket: two channels, each with a queue of bytes for the
 * other's handler. Nothing is handed over within a call of the one that writes, so that neither end is
 * entered while it is at work. A queue over its mark makes the writer wait, as a kernel's would.
 */
import { assert } from "../base/assert.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { Deferred, TurnEnd } from "../base/turn-end.ts";
import type { ByteMeter, Channel, ChannelError, ChannelHandler } from "./channel.ts";

export interface InternalPairOptions {
  readonly turnEnd: TurnEnd;
  /** Of the end that connected. */
  readonly client: ChannelHandler;
  readonly addresses: InternalAddresses;
  /** Bytes that may wait for either end before the other must stop. */
  readonly queueBytesMax: number;
  /** A handler threw: our mistake. The connection is being closed. */
  readonly onFault: (thrown: unknown) => void;
  /** Either end is closed; once each. */
  readonly onClosed?: (channel: InternalChannel) => void;
}

/** What each end knows of the other. */
export interface InternalAddresses {
  readonly client: SocketAddress;
  readonly server: SocketAddress;
  /** Where the client meant to go, as the server is told. */
  readonly destination: SocketAddress;
}

/**
 * What may wait although `write` said false: a backstop against a writer that never listens. The
 * connection breaks beyond it.
 */
const queuedBytesMax = 64 * 1024 * 1024;

/** Shorter chunks that wait are joined up to so many bytes. */
const joinedBytesMax = 4096;

const silent: ChannelHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};

export function makeInternalPair(options: InternalPairOptions): {
  readonly client: InternalChannel;
  readonly server: InternalChannel;
} {
  const { client, server, destination } = options.addresses;
  const near = new InternalChannel(options, options.client, {
    local: client,
    remote: server,
    destination: client,
  });
  const far = new InternalChannel(options, silent, { local: server, remote: client, destination });
  near.join(far);
  far.join(near);
  return { client: near, server: far };
}

export class InternalChannel implements Channel, Deferred {
  handler: ChannelHandler;
  meter: ByteMeter | undefined = undefined;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly originalDestination: SocketAddress;
  readonly tls = undefined;
  isClosed = false;
  readonly #options: InternalPairOptions;
  #peer: InternalChannel | undefined;
  /** For our handler. */
  readonly #incoming: Buffer[] = [];
  #incomingBytes = 0;
  /** What the last of it is the beginning of; undefined: it has memory of its own. */
  #joined: Buffer | undefined;
  /** The peer waits for room. */
  #owesDrain = false;
  /** The peer has said all it will. */
  #isEndDue = false;
  #isEndTold = false;
  #hasEnded = false;
  /** The peer is closed: what we write goes nowhere. */
  isPeerGone = false;
  #isPaused = false;
  #isDeferred = false;
  #isDrainDue = false;
  #closing: { readonly error: ChannelError | undefined } | undefined;

  constructor(
    options: InternalPairOptions,
    handler: ChannelHandler,
    ends: {
      readonly local: SocketAddress;
      readonly remote: SocketAddress;
      readonly destination: SocketAddress;
    },
  ) {
    this.#options = options;
    this.handler = handler;
    this.local = ends.local;
    this.remote = ends.remote;
    this.originalDestination = ends.destination;
  }

  join(peer: InternalChannel): void {
    this.#peer = peer;
  }

  get queuedBytes(): number {
    return this.#peer?.waitingBytes ?? 0;
  }

  /** Received, and not taken by the handler yet. */
  get waitingBytes(): number {
    return this.#incomingBytes;
  }

  write(bytes: Uint8Array): boolean {
    return this.writeShared(bytes, bytes.length);
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    const peer = this.#peer;
    if (this.isClosed || this.#hasEnded || this.#closing !== undefined || length === 0) return true;
    if (peer === undefined || this.isPeerGone) {
      this.#closeSoon(brokenPipe);
      return true;
    }
    this.meter?.sent.add(length);
    return peer.take(memory.subarray(0, length));
  }

  cork(): void {}
  uncork(): void {}

  end(): void {
    if (this.isClosed || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#peer?.onPeerEnd();
    this.#closeIfOver();
  }

  destroy(how?: "reset"): void {
    if (this.isClosed || this.#closing !== undefined) return;
    this.#incoming.length = 0;
    this.#incomingBytes = 0;
    this.#peer?.onPeerGone(how === "reset");
    // Whoever waits for room finds out by writing that nobody is there.
    if (this.#owesDrain) this.#peer?.onRoom();
    this.#owesDrain = false;
    this.#closeSoon(undefined);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#defer();
  }

  runDeferred(): void {
    this.#isDeferred = false;
    try {
      this.#deliver();
    } catch (thrown) {
      this.#options.onFault(thrown);
      this.#peer?.onPeerGone(true);
      this.#close({ code: "fault", message: "a handler of this connection failed" });
    }
  }

  take(bytes: Uint8Array): boolean {
    this.#put(bytes);
    this.#incomingBytes += bytes.length;
    this.#defer();
    if (this.#incomingBytes <= this.#options.queueBytesMax) return true;
    if (this.#incomingBytes > queuedBytesMax) this.#peer?.destroy("reset");
    this.#owesDrain = true;
    return false;
  }

  /** Side by side what is small, or a client could have us keep an object for each byte. */
  #put(bytes: Uint8Array): void {
    const last = this.#incoming.length - 1;
    const before = this.#incoming[last];
    const length = (before?.length ?? 0) + bytes.length;
    if (before === undefined || length > joinedBytesMax) {
      this.#incoming.push(Buffer.from(bytes));
      this.#joined = undefined;
      return;
    }
    if (this.#joined === undefined) {
      this.#joined = Buffer.allocUnsafeSlow(joinedBytesMax);
      this.#joined.set(before);
    }
    this.#joined.set(bytes, before.length);
    this.#incoming[last] = this.#joined.subarray(0, length);
  }

  onPeerEnd(): void {
    this.#isEndDue = true;
    this.#defer();
  }

  onPeerGone(isReset: boolean): void {
    this.isPeerGone = true;
    if (this.isClosed) return;
    if (isReset) {
      this.#incoming.length = 0;
      this.#incomingBytes = 0;
      return this.#closeSoon(reset);
    }
    this.#isEndDue = true;
    this.#defer();
  }

  /** What waits, as far as the handler takes it. */
  #deliver(): void {
    if (this.#isDrainDue && !this.isClosed && this.#closing === undefined) {
      this.#isDrainDue = false;
      this.handler.onDrain();
    }
    // What is written meanwhile has its turn later.
    for (let left = this.#incoming.length; left > 0 && this.#mayTell(); left--) {
      const chunk = this.#incoming.shift();
      if (chunk === undefined) break;
      if (this.#incoming.length === 0) this.#joined = undefined;
      this.#incomingBytes -= chunk.length;
      this.meter?.received.add(chunk.length);
      this.handler.onData(chunk);
    }
    if (this.#owesDrain && this.#incomingBytes <= this.#options.queueBytesMax / 2) {
      this.#owesDrain = false;
      this.#peer?.onRoom();
    }
    if (this.#incoming.length > 0) {
      if (this.#mayTell()) this.#defer();
    } else if (this.#isEndDue && !this.#isEndTold && this.#mayTell()) {
      this.#isEndTold = true;
      this.handler.onEnd();
      this.#closeIfOver();
    }
    if (this.#closing !== undefined) this.#close(this.#closing.error);
  }

  #mayTell(): boolean {
    return !this.#isPaused && !this.isClosed && this.#closing === undefined;
  }

  onRoom(): void {
    this.#isDrainDue = true;
    this.#defer();
  }

  /** Both ends have said all. */
  #closeIfOver(): void {
    if (this.#hasEnded && this.#isEndTold) this.#closeSoon(undefined);
  }

  #closeSoon(error: ChannelError | undefined): void {
    if (this.isClosed || this.#closing !== undefined) return;
    this.#closing = { error };
    this.#defer();
  }

  #close(error: ChannelError | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    // Whoever closes is told once, and the other end must not wait for one that is gone.
    const peer = this.#peer;
    assert(peer !== undefined, "an end without the other");
    if (!peer.isClosed && !peer.isPeerGone) peer.onPeerGone(false);
    this.#options.onClosed?.(this);
    this.handler.onClose(error);
  }

  #defer(): void {
    if (this.#isDeferred || this.isClosed) return;
    this.#isDeferred = true;
    this.#options.turnEnd.defer(this);
  }
}

const reset: ChannelError = { code: "ECONNRESET", message: "the other end broke the connection" };
const brokenPipe: ChannelError = { code: "EPIPE", message: "the other end is gone" };
