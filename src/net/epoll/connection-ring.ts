/**
 * Accepted connections on their way from the thread that accepts to one that serves: a ring in shared
 * memory with one writer and one reader. Bounded; what finds no room goes elsewhere.
 */
import { sockaddrBytesMax } from "../sysio/sockaddr.ts";

/** Words of the Int32Array. Positions only grow, as unsigned numbers that wrap. */
const words = {
  taken: 0,
  put: 1,
  isAsleep: 2,
  open: 3,
  isEnding: 4,
  hasEnded: 5,
  beats: 6,
  heapKilobytes: 7,
  entries: 16,
} as const;
const entriesMax = 1024;
const addressWords = Math.ceil(sockaddrBytesMax / 4);
const entryWords = 2 + addressWords;

export interface HandedConnection {
  readonly fd: number;
  /** As the reader numbers its listeners. */
  readonly listener: number;
  /** `struct sockaddr` of the peer. */
  readonly peer: Buffer;
}

export class ConnectionRing {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;

  constructor(
    memory: SharedArrayBuffer = new SharedArrayBuffer(
      4 * (words.entries + entriesMax * entryWords),
    ),
  ) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
    this.#bytes = Buffer.from(memory);
  }

  /** Connections given to the reader and not ended yet, those in the ring among them. */
  get open(): number {
    return Atomics.load(this.#words, words.open);
  }

  get hasRoom(): boolean {
    const put = Atomics.load(this.#words, words.put);
    return ((put - Atomics.load(this.#words, words.taken)) | 0) < entriesMax;
  }

  /** Writer only. False when the ring is full. */
  put(fd: number, listener: number, peer: Uint8Array): boolean {
    if (!this.hasRoom) return false;
    const put = Atomics.load(this.#words, words.put);
    const at = words.entries + ((put >>> 0) % entriesMax) * entryWords;
    this.#words[at] = fd;
    this.#words[at + 1] = listener;
    this.#bytes.set(peer.subarray(0, sockaddrBytesMax), (at + 2) * 4);
    Atomics.add(this.#words, words.open, 1);
    Atomics.store(this.#words, words.put, (put + 1) | 0);
    return true;
  }

  /** Reader; or the writer, once the reader has ended. */
  take(): HandedConnection | undefined {
    const taken = Atomics.load(this.#words, words.taken);
    if (taken === Atomics.load(this.#words, words.put)) return undefined;
    const at = words.entries + ((taken >>> 0) % entriesMax) * entryWords;
    const fd = this.#words[at] ?? -1;
    const listener = this.#words[at + 1] ?? -1;
    const from = (at + 2) * 4;
    const peer = Buffer.from(this.#bytes.subarray(from, from + sockaddrBytesMax));
    Atomics.store(this.#words, words.taken, (taken + 1) | 0);
    return { fd, listener, peer };
  }

  /** Reader only: a connection it was given has ended. */
  onEnded(): void {
    Atomics.sub(this.#words, words.open, 1);
  }

  /** Reader only: it will look again when it is woken. It must look once more after this. */
  sleep(): void {
    Atomics.store(this.#words, words.isAsleep, 1);
  }

  /** Writer only: whether the reader must be woken. */
  mustWake(): boolean {
    return Atomics.exchange(this.#words, words.isAsleep, 0) === 1;
  }

  /** Reader only: its loop turns. */
  beat(): void {
    Atomics.add(this.#words, words.beats, 1);
  }

  /** Reader only: of V8's heap in use. */
  tellHeap(bytes: number): void {
    Atomics.store(this.#words, words.heapKilobytes, Math.round(bytes / 1024));
  }

  /** So far, until the number wraps. */
  get beats(): number {
    return Atomics.load(this.#words, words.beats);
  }

  get heapBytes(): number {
    return Atomics.load(this.#words, words.heapKilobytes) * 1024;
  }

  /** Writer only: the process is about to end. The reader must be woken. */
  askToEnd(): void {
    Atomics.store(this.#words, words.isEnding, 1);
  }

  get isEnding(): boolean {
    return Atomics.load(this.#words, words.isEnding) === 1;
  }

  /** Reader only: nothing of it stands in the way of the process's end. */
  tellEnd(): void {
    Atomics.store(this.#words, words.hasEnded, 1);
    Atomics.notify(this.#words, words.hasEnded);
  }

  /** Writer only; blocks. */
  waitForEnd(timeoutMs: number): void {
    Atomics.wait(this.#words, words.hasEnded, 0, timeoutMs);
  }
}
