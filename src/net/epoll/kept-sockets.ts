/**
 * Bound sockets that outlive the process that uses them: it tells a keeper, another process, of
 * each that it opens and closes, and finds there what one before it has opened.
 */
import os from "node:os";

import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { DescriptorMessage, DescriptorMessages } from "./native/descriptor-messages.ts";
import { readable, type Reactor, type Watched } from "./reactor.ts";

const { EAGAIN } = os.constants.errno;
/** Linux: too many descriptors are on their way; Node has no name for it. */
const ETOOMANYREFS = 109;

/** A line takes some 277 messages before its process reads (`net.core.wmem_default`): so many sockets can be handed on. */
const handedMax = 256;

/** What processes say to their keeper. */
type ToKeeper =
  | { readonly kind: "opened" | "closed"; readonly address: string }
  /** For the next process, as it is; kept in memory alone. */
  | { readonly kind: "secret"; readonly text: string }
  | { readonly kind: "ready" };

/** Before a secret on its way to a process; addresses begin otherwise. */
const secretMark = "secret ";
/** To a process that has had its time. */
const successionMark = "succeeded";

export type Transport = "tcp" | "udp";

/** TCP and UDP count their ports apart. */
function keyOf(address: SocketAddress, transport: Transport): string {
  return `${transport} ${formatSocketAddress(address)}`;
}

/** The line of a process to its keeper. */
export class KeptSockets {
  readonly #messages: Pick<DescriptorMessages, "send" | "receive">;
  readonly #line: number;
  readonly #later: () => void;
  /** What the line has not taken yet, in order: of each listening socket a message or two. */
  #untold: Untold[] = [];
  #isSucceeded = false;
  #isOver = false;
  /** Of those before us, not used yet; by address. */
  readonly #inherited = new Map<string, number>();
  /** What the process before us has left for us. */
  readonly secret: string | undefined;

  /**
   * `line` is the descriptor that the keeper started this process with; `later` shall see to it that `tellMore` is
   * called soon, because the line is full.
   */
  constructor(
    messages: Pick<DescriptorMessages, "send" | "receive">,
    line: number,
    later: () => void,
  ) {
    this.#messages = messages;
    this.#line = line;
    this.#later = later;
    // The keeper has said all before it started us.
    for (;;) {
      const message = messages.receive(line);
      if (message === undefined || message === "end") return;
      const { text, fd } = message;
      if (fd !== undefined) this.#inherited.set(text, fd);
      else if (text.startsWith(secretMark)) this.secret = text.slice(secretMark.length);
    }
  }

  leaveSecret(text: string): void {
    this.#tell({ kind: "secret", text });
  }

  /** A socket that is bound there already; whoever takes it closes it. */
  take(address: SocketAddress, transport: Transport = "tcp"): number | undefined {
    const key = keyOf(address, transport);
    const fd = this.#inherited.get(key);
    this.#inherited.delete(key);
    return fd;
  }

  onOpened(address: SocketAddress, fd: number, transport: Transport = "tcp"): void {
    this.#tell({ kind: "opened", address: keyOf(address, transport) }, fd);
  }

  /** For good: nobody is to find it. */
  onClosed(address: SocketAddress, transport: Transport = "tcp"): void {
    this.#tell({ kind: "closed", address: keyOf(address, transport) });
  }

  /** All that shall be listened on is: what nobody asked for is of no use. The unused descriptors. */
  onReady(): readonly number[] {
    const unused = [...this.#inherited];
    this.#inherited.clear();
    for (const [address] of unused) this.#tell({ kind: "closed", address });
    this.#tell({ kind: "ready" });
    return unused.map(([, fd]) => fd);
  }

  /** Whether another process has our sockets and serves; a keeper that has died has said nothing of one. */
  isSucceeded(): boolean {
    this.#hear();
    return this.#isSucceeded;
  }

  /** Whether nobody reads any more what we say. */
  isOver(): boolean {
    this.#hear();
    return this.#isOver;
  }

  #hear(): void {
    while (!this.#isOver) {
      const message = this.#messages.receive(this.#line);
      if (message === undefined) return;
      if (message === "end") this.#isOver = true;
      else if (message.text === successionMark) this.#isSucceeded = true;
    }
  }

  #tell(message: ToKeeper, fd?: number): void {
    const address = fd === undefined || message.kind !== "opened" ? undefined : message.address;
    if (message.kind === "closed") {
      // Its descriptor may be another one's by now.
      this.#untold = this.#untold.filter((untold) => untold.address !== message.address);
    }
    this.#untold.push({ text: JSON.stringify(message), fd, address });
    if (this.#untold.length === 1) this.tellMore();
  }

  /** Says what the line has not taken. */
  tellMore(): void {
    let told = 0;
    for (const message of this.#untold) {
      // A descriptor of that number may be another line by now.
      const status = this.#isOver ? 0 : this.#messages.send(this.#line, message);
      if (status === -EAGAIN || status === -ETOOMANYREFS) {
        this.#later();
        break;
      }
      told++;
    }
    this.#untold.splice(0, told);
  }
}

interface Untold extends DescriptorMessage {
  /** Of a socket that was opened. */
  readonly address: string | undefined;
}

/** The keeper's end of one process's line. */
export interface KeptLine {
  /** For the process, as a descriptor it is started with; ours to close once it runs. */
  readonly theirs: number;
  /** Another process serves: before it is asked to end. */
  tellSucceeded(): void;
  /** What it says from now on is of no interest; what it has said still counts. */
  close(): void;
}

export class SocketKeeper {
  readonly #reactor: Reactor;
  readonly #messages: DescriptorMessages;
  readonly #held = new Map<string, number>();
  #secret: string | undefined;

  constructor(reactor: Reactor, messages: DescriptorMessages) {
    this.#reactor = reactor;
    this.#messages = messages;
  }

  /** How many sockets are held, whether a process is there or not. */
  get size(): number {
    return this.#held.size;
  }

  /** Whether a process that is about to start would find in its line all that is held. */
  get canHandOn(): boolean {
    return this.size <= handedMax;
  }

  /** For a process that is about to start: it finds in it all that is held. What does not fit is given up. */
  openLine(onReady: () => void): KeptLine {
    const pair = this.#messages.pair();
    if (typeof pair === "number") throw new Error(`no pair of sockets (${pair})`);
    const [ours, theirs] = pair;
    for (const [address, fd] of this.#held) {
      if (this.#messages.send(ours, { text: address, fd }) === 0) continue;
      // The process would find the address in use, by us.
      this.#reactor.syscalls.close(fd);
      this.#held.delete(address);
    }
    if (this.#secret !== undefined) {
      this.#messages.send(ours, { text: `${secretMark}${this.#secret}`, fd: undefined });
    }
    let isOpen = true;
    const line = { before: new Set(this.#held.keys()), left: new Set<string>(), isReady: false };
    const read = (): void => {
      while (isOpen) {
        const message = this.#messages.receive(ours);
        if (message === undefined) return;
        if (message === "end") return end();
        if (this.#take(message.text, message.fd, line)) onReady();
      }
    };
    const end = (): void => {
      if (!isOpen) return;
      isOpen = false;
      this.#reactor.close(ours);
    };
    const close = (): void => {
      read();
      end();
    };
    const watched: Watched = { onEvents: read, onFault: end };
    this.#reactor.add(ours, watched, readable);
    const tellSucceeded = (): void => {
      if (isOpen) this.#messages.send(ours, { text: successionMark, fd: undefined });
    };
    return { theirs, tellSucceeded, close };
  }

  /** Once the process has it. */
  closeOther(fd: number): void {
    this.#reactor.syscalls.close(fd);
  }

  close(): void {
    for (const fd of this.#held.values()) this.#reactor.syscalls.close(fd);
    this.#held.clear();
    this.#secret = undefined;
  }

  /** Whether the process says that it serves. */
  #take(text: string, fd: number | undefined, line: Line): boolean {
    // Only a process of ours has the other end.
    const message = JSON.parse(text) as ToKeeper;
    if (message.kind === "secret") {
      this.#secret = message.text;
      return false;
    }
    if (message.kind === "ready") {
      line.isReady = true;
      for (const address of line.left) this.#drop(address);
      line.left.clear();
      return true;
    }
    const { address, kind } = message;
    if (kind === "closed" && !line.isReady && line.before.has(address)) {
      line.left.add(address);
      return false;
    }
    this.#drop(address);
    line.left.delete(address);
    if (kind === "opened" && fd !== undefined) this.#held.set(address, fd);
    return false;
  }

  #drop(address: string): void {
    const fd = this.#held.get(address);
    if (fd === undefined) return;
    this.#reactor.syscalls.close(fd);
    this.#held.delete(address);
  }
}

/** What is remembered of a process as long as its line is open. */
interface Line {
  /** Held when it was started: another process may serve there, whatever becomes of this one. */
  readonly before: ReadonlySet<string>;
  /** Of those, closed again before it served: for good once it does. */
  readonly left: Set<string>;
  isReady: boolean;
}
