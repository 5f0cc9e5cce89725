/**
 * Connections without a network: what one side writes the other hears in the same turn. They cost as
 * little as connections can, so that what is measured through them is the engine.
 */
import type { SocketAddress } from "../../src/base/socket-address.ts";
import type { Deferred, TurnEnd } from "../../src/base/turn-end.ts";
import type { Channel, ChannelHandler } from "../../src/net/channel.ts";
import type { Dialler } from "../../src/net/dialler.ts";
import type { ListenOptions } from "../../src/net/listen.ts";

const silent: ChannelHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};
const client: SocketAddress = { address: "127.0.0.1", port: 40_000 };

/** Keeps the last write, and the number of writes. */
export class MemoryChannel implements Channel {
  handler: ChannelHandler = silent;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly originalDestination: SocketAddress;
  readonly tls = undefined;
  readonly queuedBytes = 0;
  isClosed = false;
  writes = 0;
  onWrite: ((bytes: Buffer, length: number) => void) | undefined = undefined;
  /** What came last stands in here; the next write overwrites it. */
  readonly received: Buffer = Buffer.allocUnsafe(2048);
  receivedBytes = 0;

  constructor(local: SocketAddress, remote: SocketAddress) {
    this.local = local;
    this.remote = remote;
    this.originalDestination = local;
  }

  write(bytes: Uint8Array): boolean {
    this.writes++;
    this.receivedBytes = bytes.length;
    this.received.set(bytes);
    return true;
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    this.writes++;
    this.receivedBytes = length;
    if (Buffer.isBuffer(memory)) {
      memory.copy(this.received, 0, 0, length);
      this.onWrite?.(memory, length);
    }
    return true;
  }

  cork(): void {}
  uncork(): void {}
  pause(): void {}
  resume(): void {}

  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.handler.onClose(undefined);
  }
}

/** Listeners and endpoints of one data plane: a test plays whoever is beyond them. */
export class MemoryIo {
  readonly #listeners: ListenOptions[] = [];
  /** Every connection the data plane has opened, in order. */
  readonly dialled: MemoryChannel[] = [];

  readonly listen = async (options: ListenOptions): ReturnType<typeof listening> => {
    this.#listeners.push(options);
    return listening(options);
  };

  readonly dialler: Dialler = {
    dial: ({ address, handler, onConnect }) => {
      const channel = new MemoryChannel(client, address);
      channel.handler = handler;
      this.dialled.push(channel);
      queueMicrotask(() => onConnect(channel));
      return channel;
    },
  };

  /** Places are kept: what is counted is the engine's. */
  readonly #deferred: Deferred[] = [];
  #due = 0;

  readonly turnEnd: TurnEnd = {
    defer: (work) => {
      this.#deferred[this.#due++] = work;
    },
  };

  /** Everything that came in this turn was read. */
  endTurn(): void {
    const due = this.#due;
    this.#due = 0;
    for (let at = 0; at < due; at++) this.#deferred[at]?.runDeferred();
  }

  /** A client connects to the listener that was opened first. */
  connect(): MemoryChannel {
    const [options] = this.#listeners;
    if (options === undefined) throw new Error("nothing listens");
    const channel = new MemoryChannel(addressOf(options), client);
    options.onChannel(channel);
    return channel;
  }
}

async function listening(
  options: ListenOptions,
): Promise<{ readonly address: SocketAddress; close(): Promise<void> }> {
  return { address: addressOf(options), close: async () => {} };
}

function addressOf({ on }: ListenOptions): SocketAddress {
  return on.kind === "address" ? on : { address: "", port: 0 };
}
