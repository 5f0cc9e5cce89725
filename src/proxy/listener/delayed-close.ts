/** Ends connections that are denied, at once or after a while (`delay_deny`): a client that tries again at once waits. */
import type { Clock } from "../../base/clock.ts";
import type { Channel } from "../../net/channel.ts";

/** Nothing is read meanwhile. `close` is called once, also where the client hangs up first. */
export function closeLater(
  channel: Channel,
  { delayMs, clock }: { readonly delayMs: number; readonly clock: Clock },
  close: () => void,
): void {
  if (delayMs === 0) return close();
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    close();
  };
  const timer = clock.schedule(delayMs, end);
  channel.handler = {
    onData: () => {},
    onEnd: () => {},
    onDrain: () => {},
    onClose: () => {
      timer.cancel();
      end();
    },
  };
  channel.pause();
}
