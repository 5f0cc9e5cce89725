/**
 * What a peer may send (RFC 9113 section 5.2): windows of streams and of the connection. What an owner
 * has taken is given back when it comes to half a window, in one frame; what one that is paused has not
 * taken keeps its place in both windows, which bounds what a connection can make us hold.
 */
import { initialWindow } from "./http2-frames.ts";
import type { Http2Sender } from "./http2-sender.ts";
import type { Http2Stream } from "./http2-stream.ts";

export class ReceiveWindow {
  readonly #sender: Http2Sender;
  readonly #streamWindow: number;
  readonly #connectionWindow: number;
  /** One that is paused keeps nothing of the connection's window: the others are not its owner's. */
  readonly #isShared: boolean;
  #left: number = initialWindow;
  #unreturned = 0;

  constructor(
    sender: Http2Sender,
    windows: { readonly stream: number; readonly connection: number; readonly isShared: boolean },
  ) {
    this.#sender = sender;
    this.#streamWindow = windows.stream;
    this.#isShared = windows.isShared;
    // No frame can make it smaller than it is at the beginning.
    this.#connectionWindow = Math.max(windows.connection, initialWindow);
  }

  /** Tells the peer how large the connection's window is. */
  start(): void {
    const more = this.#connectionWindow - initialWindow;
    if (more === 0) return;
    this.#left = this.#connectionWindow;
    this.#sender.windowUpdate(0, more);
  }

  /** A DATA frame of so many bytes begins; false when the connection's window does not hold it. */
  take(bytes: number): boolean {
    this.#left -= bytes;
    return this.#left >= 0;
  }

  /** A stream's frame was read. */
  onFrame(stream: Http2Stream, bytes: number): void {
    if (!stream.isPaused || this.#isShared) this.returnToConnection(bytes);
    if (stream.isPaused) stream.held += bytes;
    else this.#giveBack(stream, bytes);
  }

  /** The owner takes again. */
  release(stream: Http2Stream): void {
    stream.isPaused = false;
    const { held } = stream;
    this.forget(stream);
    if (held > 0) this.#giveBack(stream, held);
  }

  /** Nothing is held for it any more. */
  forget(stream: Http2Stream): void {
    if (stream.held > 0 && !this.#isShared) this.returnToConnection(stream.held);
    stream.held = 0;
  }

  #giveBack(stream: Http2Stream, bytes: number): void {
    stream.unreturned += bytes;
    const isDue = stream.unreturned * 2 >= this.#streamWindow;
    if (stream.isRemoteEnded || stream.isClosed || !isDue) return;
    stream.receiveWindow += stream.unreturned;
    this.#sender.windowUpdate(stream.id, stream.unreturned);
    stream.unreturned = 0;
  }

  /** Bytes that no stream takes, or that one has taken. */
  returnToConnection(bytes: number): void {
    this.#unreturned += bytes;
    // Half of the window, or of what those that are paused leave of it.
    if (this.#unreturned === 0 || this.#unreturned < this.#left) return;
    this.#left += this.#unreturned;
    this.#sender.windowUpdate(0, this.#unreturned);
    this.#unreturned = 0;
  }
}
