/** Joins two sockets: bytes and half-closes both ways; a failure on one side resets the other. */
import type { Socket } from "node:net";

export function splice(one: Socket, other: Socket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.allowHalfOpen = true;
    from.setNoDelay(true);
    from.pipe(to);
    from.once("error", () => to.resetAndDestroy());
    from.once("close", () => {
      // After an orderly end the other side goes on until its own; a cut one ends both.
      if (!from.readableEnded || to.writableEnded === false) to.destroySoon();
    });
  }
}
