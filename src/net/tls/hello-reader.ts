/**
 * The ClientHello of a connection whose listener has not looked at it, for a server with certificates that
 * are chosen by name: it is read before the handshake begins, and then handed to it.
 */
import type { Clock } from "../../base/clock.ts";
import { inspectTlsHello, type TlsHello } from "../../wire/tls-hello.ts";
import type { Channel } from "../channel.ts";

export interface HelloReading {
  readonly channel: Channel;
  /** What was read of the connection so far. */
  readonly first: Buffer;
  /** 0 means none. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** `hello` is undefined where something else came; `leftMs`: of the time that there was. */
  readonly onRead: (read: HelloRead) => void;
  /** The connection is closed by then. */
  readonly onFailure: (kind: "closed" | "timeout") => void;
}

export interface HelloRead {
  readonly hello: TlsHello | undefined;
  readonly first: Buffer;
  readonly leftMs: number;
}

/** Either callback may fire within the call. */
export function readHello(reading: HelloReading): void {
  const { channel, timeoutMs, clock, onRead, onFailure } = reading;
  const startedMs = clock.monotonicMs();
  const timer = timeoutMs > 0 ? clock.schedule(timeoutMs, () => fail("timeout")) : undefined;
  // Whoever read it uses its memory again.
  let first: Buffer = Buffer.from(reading.first);
  let isSettled = false;
  const settle = (): boolean => {
    if (isSettled) return false;
    isSettled = true;
    timer?.cancel();
    return true;
  };
  const fail = (kind: "closed" | "timeout"): void => {
    if (!settle()) return;
    channel.destroy();
    onFailure(kind);
  };
  /** The codec bounds what it asks for. */
  const look = (): void => {
    const found = inspectTlsHello(first);
    if (found.kind === "incomplete" || !settle()) return;
    const hello = found.kind === "hello" ? found.hello : undefined;
    // 0 would be no bound at all.
    const leftMs = timeoutMs > 0 ? Math.max(1, timeoutMs - (clock.monotonicMs() - startedMs)) : 0;
    onRead({ hello, first, leftMs });
  };
  channel.handler = {
    onData(chunk) {
      first = Buffer.concat([first, chunk]);
      look();
    },
    onEnd: () => fail("closed"),
    onDrain: () => {},
    onClose: () => fail("closed"),
  };
  look();
}
