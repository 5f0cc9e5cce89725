/** Keepers of listening sockets for the sidecars of a mesh, or one sentence why there are none. */
import { systemClock } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import { openSocketKeeper, type SocketKeeper } from "../../net/kept-sockets.ts";
import { createLog } from "../../telemetry/log.ts";

/** Nothing is held where system calls of our own do not work: then the ports of a crashed sidecar refuse. */
export function socketOpener(onLine: (line: string) => void): () => SocketKeeper | undefined {
  const log = createLog({ level: "warn", format: "text", clock: systemClock, sink: onLine });
  let isPossible = true;
  return () => {
    if (!isPossible) return undefined;
    try {
      return openSocketKeeper(log);
    } catch (thrown) {
      isPossible = false;
      log.warn("sidecars lose their listening sockets when they crash", {
        reason: messageOf(thrown),
      });
      return undefined;
    }
  };
}
