/** The ports on which gateways hear from the edge what arrives for them on the host. */
import type { SidecarPorts } from "../../base/sidecar-options.ts";
import type { InstancePlan } from "../plan.ts";

/** Below are the ports that the kernel gives to outgoing connections. */
const firstRelayPort = 61_000;

/** One for each port of a gateway, none of which is the gateway's or its sidecar's own. */
export function relayPortsFor(
  { role, spec }: InstancePlan,
  sidecarPorts: SidecarPorts,
): readonly number[] {
  if (role !== "gateway") return [];
  const own = spec.ports.map(({ port }) => port);
  const taken = new Set([...own, ...Object.values(sidecarPorts)]);
  const free: number[] = [];
  for (let port = firstRelayPort; free.length < own.length; port++) {
    if (!taken.has(port)) free.push(port);
  }
  return free;
}
