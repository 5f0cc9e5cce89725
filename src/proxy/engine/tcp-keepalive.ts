/** What the kernel shall ask idle peers, of listeners and of clusters. */
import type { TcpKeepAlive } from "../../net/dialler.ts";
import type { TcpKeepalive } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";
import { refuse } from "./refusal.ts";

/** Empty means on, as the kernel is set up. */
export function compileKeepAlive(
  config: TcpKeepalive | undefined,
  path: string,
): TcpKeepAlive | undefined {
  if (config === undefined) return undefined;
  // The kernel's own bounds.
  const within = (value: number | undefined, most: number, field: string): number | undefined => {
    if (value !== undefined && (value < 1 || value > most)) {
      refuse(`${path}.${field}`, `must lie between 1 and ${most}`);
    }
    return value;
  };
  return {
    probes: within(config.keepaliveProbes, 127, "keepalive_probes"),
    idleSeconds: within(config.keepaliveTime, 32_767, "keepalive_time"),
    intervalSeconds: within(config.keepaliveInterval, 32_767, "keepalive_interval"),
  };
}
