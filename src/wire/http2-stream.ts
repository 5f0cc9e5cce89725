/** One stream of an HTTP/2 connection: its windows, what waits to be sent on it, and who it is for. */
import type { HeadError, Http1Head } from "./http1-head.ts";
import type { Violation } from "./http2-frames.ts";
import { PieceJoiner } from "./joined-pieces.ts";

/** Whoever serves a stream. Nothing is called after `onReset()` or `onClosed()`. */
export interface StreamOwner {
  /** First; `head` is not filled yet. */
  onOpened(stream: Http2Stream): void;
  /** Filled with the fields of the message, and later with its trailers. */
  readonly head: Http1Head;
  readonly trailers: Http1Head;
  /** Used for each of its streams, where it has one after another. */
  readonly wire?: Http2Stream | undefined;
  /** `head` is complete and sound. `isEnd`: that was all. */
  onHead(isEnd: boolean): void;
  /** `chunk[from, to)` belongs to the connection: whoever keeps it copies it. */
  onData(chunk: Buffer, from: number, to: number): void;
  onEnd(trailers: Http1Head | undefined): void;
  /** What was to be sent has left: there is room again. */
  onRoom(): void;
  /** An answer that is not the final one: 100, 102, 103. */
  onInterim?(status: number): void;
  /** The message, or what follows it, is malformed; nothing of it is told otherwise. */
  onMalformed(error: HeadError): void;
  /** Broken off by the peer; or by us for `why`, which it did. */
  onReset(code: number, why?: Violation): void;
  /** Both sides have ended. */
  onClosed(): void;
}

export class Http2Stream {
  id = 0;
  readonly owner: StreamOwner;
  /** The peer has said all it will. */
  isRemoteEnded = false;
  /** Our last frame of it is sent. */
  isLocalEnded = false;
  isClosed = false;
  /** What the peer may still send. */
  receiveWindow = 0;
  /** Taken, but not yet given back to the peer. */
  unreturned = 0;
  /** The owner takes no more for now: the peer may fill the stream's window and no more. */
  isPaused = false;
  /** Received meanwhile. */
  held = 0;
  /** What its head came to, while it is open. */
  headBytes = 0;
  /** Content bytes the head promised, less those that came; -1 where it promised nothing. */
  contentLeft = -1;
  /** The answer's final head has come, or left. */
  isAnswered = false;
  /** Of a stream that we began: its request was HEAD; so many heads have come before the final one. */
  isHead = false;
  interims = 0;
  sendWindow = 0;
  readonly queue: Buffer[] = [];
  queuedBytes = 0;
  /** Nothing follows what is queued but `queuedTrailers`. */
  isEndQueued = false;
  queuedTrailers: readonly (readonly [name: string, value: string])[] | undefined = undefined;
  /** What they came to, while they wait. */
  queuedTrailerBytes = 0;
  /** In the queue of streams that may send. */
  isReady = false;
  /** The owner was told to wait. */
  isWaiting = false;
  #joiner: PieceJoiner | undefined = undefined;

  constructor(owner: StreamOwner) {
    this.owner = owner;
  }

  /** The first stream, or another one after it is over; windows in bytes. */
  begin(id: number, receiveWindow: number, sendWindow: number): void {
    this.id = id;
    this.receiveWindow = receiveWindow;
    this.sendWindow = sendWindow;
    this.isRemoteEnded = false;
    this.isLocalEnded = false;
    this.isClosed = false;
    this.unreturned = 0;
    this.isPaused = false;
    this.held = 0;
    this.contentLeft = -1;
    this.isHead = false;
    this.isAnswered = false;
    this.interims = 0;
    if (this.queue.length > 0) this.queue.length = 0;
    this.#joiner?.reset();
    this.queuedBytes = 0;
    this.isEndQueued = false;
    this.queuedTrailers = undefined;
    this.queuedTrailerBytes = 0;
    this.isReady = false;
    this.isWaiting = false;
  }

  /** Keeps a copy of `chunk[from, to)` behind what is queued. */
  enqueue(chunk: Uint8Array, from: number, to: number): void {
    this.#joiner ??= new PieceJoiner();
    this.#joiner.add(this.queue, chunk, from, to);
    this.queuedBytes += to - from;
  }
}
