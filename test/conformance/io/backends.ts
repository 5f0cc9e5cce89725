/** Both I/O backends, and what the tests of channels do with either. */
import { silentLog } from "../../support/silent-log.ts";
import { systemClock } from "../../../src/base/clock.ts";
import type { Channel, ChannelError, ChannelHandler } from "../../../src/net/channel.ts";
import type { Dialler, DialOptions } from "../../../src/net/dialler.ts";
import { openIo } from "../../../src/net/io-backend.ts";
import type { BoundListener, ListenOptions } from "../../../src/net/listen.ts";

export interface Backend {
  readonly name: "portable" | "epoll";
  readonly dialler: Dialler;
  readonly listen: (
    options: Partial<ListenOptions> & Pick<ListenOptions, "onChannel">,
  ) => Promise<BoundListener>;
  /** Resolves when connected; rejects with the channel's error. */
  readonly dial: (
    listener: BoundListener,
    heard: Heard,
    more?: Partial<DialOptions>,
  ) => Promise<Channel>;
}

const opened = new Set<Channel>();

/** Ends what a test left open: a paused channel, for one, never hears that its peer is gone. */
export function closeLeftovers(): void {
  for (const channel of opened) channel.destroy();
  opened.clear();
}

/** Epoll must work where the tests run: its fallback would be tested twice, and epoll not at all. */
export const backends: readonly Backend[] = (["portable", "epoll"] as const).map((name) => {
  const io = openIo(name, systemClock, silentLog);
  if (io.name !== name) throw new Error(`the backend ${name} does not work here`);
  const dialler = io.createDialler({ log: silentLog });
  return {
    name,
    dialler,
    listen: (options) =>
      io.listen({
        on: { kind: "address", address: "127.0.0.1", port: 0 },
        connectionsMax: 10,
        readsOriginalDestination: true,
        log: silentLog,
        ...options,
        onChannel(channel) {
          opened.add(channel);
          options.onChannel(channel);
        },
      }),
    dial: (listener, heard, more) =>
      new Promise((resolve, reject) => {
        void heard.closed.then((error) => reject(new Error(error?.message ?? "closed")));
        dialler.dial({
          address: listener.address,
          tls: undefined,
          timeoutMs: 60_000,
          handler: heard.handler,
          onConnect(channel) {
            opened.add(channel);
            resolve(channel);
          },
          ...more,
        });
      }),
  };
});

/** What a channel's handler was told. */
export interface Heard {
  readonly handler: ChannelHandler;
  readonly closed: Promise<ChannelError | undefined>;
  readonly ended: Promise<void>;
  readonly drained: Promise<void>;
  /** Names of calls in their order; data once, however often it came. */
  readonly calls: readonly string[];
  bytes(): Buffer;
  text(): string;
  /** Resolves when so many bytes have come. */
  received(bytes: number): Promise<void>;
}

export function hear(handler: Partial<ChannelHandler> = {}): Heard {
  const chunks: Buffer[] = [];
  const calls: string[] = [];
  let length = 0;
  const waiting: { readonly bytes: number; resolve(): void }[] = [];
  const closed = Promise.withResolvers<ChannelError | undefined>();
  const ended = Promise.withResolvers<void>();
  const drained = Promise.withResolvers<void>();
  return {
    closed: closed.promise,
    ended: ended.promise,
    drained: drained.promise,
    calls,
    bytes: () => Buffer.concat(chunks),
    text: () => Buffer.concat(chunks).toString("latin1"),
    received: (bytes) =>
      new Promise((resolve) => {
        if (length >= bytes) resolve();
        else waiting.push({ bytes, resolve });
      }),
    handler: {
      onData(chunk) {
        chunks.push(Buffer.from(chunk));
        length += chunk.length;
        if (calls.at(-1) !== "data") calls.push("data");
        handler.onData?.(chunk);
        for (const one of waiting) if (length >= one.bytes) one.resolve();
      },
      onEnd() {
        calls.push("end");
        handler.onEnd?.();
        ended.resolve();
      },
      onDrain() {
        calls.push("drain");
        handler.onDrain?.();
        drained.resolve();
      },
      onClose(error) {
        calls.push("close");
        handler.onClose?.(error);
        closed.resolve(error);
      },
    },
  };
}
