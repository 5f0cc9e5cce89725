/** When memory runs short, connections whose peers do not read give theirs back. */
import type { Channel } from "../../net/channel.ts";
import type { ProxyContext } from "../context.ts";

/** Resets those with at least so many bytes to send, the slowest first. */
export function resetSlowest(
  channels: Iterable<Channel>,
  { fromBytes, countMax }: { readonly fromBytes: number; readonly countMax: number },
  { metrics, log }: Pick<ProxyContext, "metrics" | "log">,
): void {
  const slow = [...channels].filter(({ queuedBytes }) => queuedBytes >= fromBytes);
  slow.sort((a, b) => b.queuedBytes - a.queuedBytes);
  if (slow.length === 0) return;
  const chosen = slow.slice(0, countMax);
  for (const channel of chosen) channel.destroy("reset");
  metrics
    .counter("envoy_overload_stream_resets_total", "Connections reset for the memory they held")
    .add(chosen.length);
  log.area("listener").warn("connections with much to send were reset: memory runs short", {
    connections: chosen.length,
  });
}
