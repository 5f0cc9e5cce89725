/** A kernel for the epoll backend that does what a test says; every descriptor is a number. */
import { Block } from "../../src/net/epoll/native/block.ts";
import { epollEventBytes, epollFdWord, type Syscalls } from "../../src/net/epoll/native/libc.ts";
import type { Native } from "../../src/net/epoll/native/probe.ts";

export interface ScriptedEvent {
  readonly fd: number;
  readonly events: number;
  readonly generation: number;
}

export class ScriptedKernel implements Native {
  readonly calls: string[] = [];
  readonly syscalls: Syscalls;
  /** What the next `epollWait` tells. */
  events: readonly ScriptedEvent[] = [];
  /** What a call answers, in turn; 0 when nothing is left. */
  readonly answers: { [call: string]: number[] } = {};
  /** What was written, as text. */
  written = "";
  isHeld = false;
  #onReady: () => void = () => {};

  constructor() {
    const answer = (call: string, ...args: readonly (number | string)[]): number => {
      this.calls.push([call, ...args].join(" "));
      return this.answers[call]?.shift() ?? 0;
    };
    this.syscalls = {
      allocate: (bytes) => Block.allocate(bytes, () => 0n),
      socket: () => answer("socket"),
      bind: (fd) => answer("bind", fd),
      listen: (fd) => answer("listen", fd),
      accept: (fd) => answer("accept", fd),
      connect: (fd) => answer("connect", fd),
      localAddress: (fd) => answer("localAddress", fd),
      read: (fd) => answer("read", fd),
      write: (fd, from, bytes) => {
        const count = answer("write", fd, bytes);
        if (count > 0) this.written += from.bytes.toString("latin1", 0, count);
        return count;
      },
      writeVector: (fd, chunks) => {
        const count = answer("writeVector", fd, chunks.length);
        const whole = Buffer.concat(chunks);
        if (count > 0) this.written += whole.toString("latin1", 0, count);
        return count;
      },
      shutdownWrite: (fd) => answer("shutdownWrite", fd),
      close: (fd) => answer("close", fd),
      setOption: (fd) => answer("setOption", fd),
      setOptionBytes: (fd) => answer("setOptionBytes", fd),
      option: (fd) => answer("option", fd),
      optionBytes: (fd) => answer("optionBytes", fd),
      setNonBlocking: (fd) => answer("setNonBlocking", fd),
      lastError: () => answer("lastError"),
      eventfd: () => answer("eventfd"),
      epollCreate: () => answer("epollCreate"),
      epollControl: (_, { operation, fd, events, generation }) =>
        answer("epollControl", operation, fd, events, generation),
      epollWait: (_, into) => this.#tell(into),
    };
  }

  watch(_: number, onReady: () => void): { hold(isHeld: boolean): void } {
    this.#onReady = onReady;
    return { hold: (isHeld) => (this.isHeld = isHeld) };
  }

  /** One turn of the loop with these events. */
  turn(events: readonly ScriptedEvent[]): void {
    this.events = events;
    this.#onReady();
  }

  #tell(into: Block): number {
    const { events } = this;
    this.events = [];
    for (const [index, { fd, events: mask, generation }] of events.entries()) {
      const at = index * epollEventBytes;
      into.bytes.writeUInt32LE(mask, at);
      into.bytes.writeInt32LE(fd, at + epollFdWord * 4);
      into.bytes.writeInt32LE(generation, at + epollFdWord * 4 + 4);
    }
    return events.length;
  }
}
