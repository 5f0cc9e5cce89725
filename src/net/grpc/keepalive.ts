import type { Http2Session } from "node:http2";

import type { Clock, Timer } from "../../base/clock.ts";
import type { GrpcKeepalive } from "../grpc.ts";

/**
 * Pings a session for as long as it lives and destroys it when an answer is late. Node leaks
 * sessions whose peer vanished without a FIN; nothing else notices a frozen peer.
 */
export function keepAlive(session: Http2Session, keepalive: GrpcKeepalive, clock: Clock): void {
  let timer: Timer;
  const ping = (): void => {
    if (session.destroyed || session.closed) return;
    timer = clock.schedule(keepalive.timeoutMs, () => {
      session.destroy(new Error(`no answer to a ping in ${keepalive.timeoutMs} ms`));
    });
    session.ping((error: Error | null) => {
      timer.cancel();
      if (error === null) timer = clock.schedule(keepalive.intervalMs, ping);
    });
  };
  timer = clock.schedule(keepalive.intervalMs, ping);
  session.once("close", () => timer.cancel());
}
