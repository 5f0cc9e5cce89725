/** A Listener of UDP, checked and read: Envoy's `udp_proxy`, to one cluster. Pure. */
import type { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { SocketAddress_Protocol } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";
import { TrafficDirection } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { Route } from "../../wire/gen/ts/envoy/extensions/filters/udp/udp_proxy/v3/route.ts";
import { UdpProxyConfig } from "../../wire/gen/ts/envoy/extensions/filters/udp/udp_proxy/v3/udp_proxy.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { honouredUdpListener, honouredUdpProxy } from "../config/honoured-udp.ts";
import { checkHonoured, type UnknownFieldCount } from "../config/honoured.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse, RefusalList } from "../engine/refusal.ts";
import type { UdpSettings } from "./udp-sessions.ts";

export interface UdpPlan extends Omit<UdpSettings, "sink"> {
  readonly name: string;
  readonly statPrefix: string;
  readonly addresses: readonly SocketAddress[];
  readonly isTransparent: boolean;
  /** Nothing is bound there: capture brings what is sent to it. */
  readonly isCaptured: boolean;
  readonly config: UdpProxyConfig;
}

const prefix = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.";
const idleTimeoutMsDefault = 60_000;

const directions: Readonly<Record<number, UdpPlan["direction"]>> = {
  [TrafficDirection.INBOUND]: "inbound",
  [TrafficDirection.OUTBOUND]: "outbound",
};

export function isUdpListener({ address: at }: Listener): boolean {
  return at?.socketAddress?.protocol === SocketAddress_Protocol.UDP;
}

/** Throws a refusal. */
export function planUdpListener(listener: Listener, unknown: UnknownFieldCount): UdpPlan {
  const refusals = new RefusalList();
  refusals.attempt(() => checkHonoured(listener, honouredUdpListener, "", unknown));
  const addresses = refusals.attempt(() => addressesOf(listener));
  const found = refusals.attempt(() => udpProxyOf(listener, unknown));
  refusals.throwIfAny();
  if (addresses === undefined || found === undefined) return refuse("", "is not supported");
  const { config, cluster } = found;
  return {
    name: listener.name,
    statPrefix: config.statPrefix,
    addresses,
    isTransparent: listener.transparent === true,
    isCaptured: listener.bindToPort === false,
    config,
    cluster,
    // 0 is the default here, where elsewhere it means none: Envoy asks for more than 0.
    idleTimeoutMs: durationMs(config.idleTimeout) || idleTimeoutMsDefault,
    hashes: config.hashPolicies.length > 0,
    direction: directions[listener.trafficDirection] ?? "unspecified",
  };
}

function addressesOf(listener: Listener): readonly SocketAddress[] {
  const all = [listener.address, ...listener.additionalAddresses.map((one) => one.address)];
  return all.map((one, i) => {
    const path = i === 0 ? "address" : `additional_addresses[${i - 1}].address`;
    const socket = one?.socketAddress;
    if (socket?.portValue === undefined) {
      return refuse(path, "only IP addresses with a port are supported");
    }
    if (socket.protocol !== SocketAddress_Protocol.UDP) {
      return refuse(path, "all addresses of a listener must be of UDP, or none");
    }
    return { address: socket.address, port: socket.portValue };
  });
}

function udpProxyOf(
  listener: Listener,
  unknown: UnknownFieldCount,
): { readonly config: UdpProxyConfig; readonly cluster: string } {
  const [filter, ...others] = listener.listenerFilters;
  const path = "listener_filters[0].typed_config";
  if (others.length > 0) refuse("listener_filters[1]", "is not supported beside udp_proxy");
  const typed = filter?.typedConfig;
  if (typed?.typeUrl !== `${prefix}UdpProxyConfig`) {
    return refuse(path, `'${typed?.typeUrl ?? filter?.name ?? ""}' is not supported`);
  }
  const config = UdpProxyConfig.decode(typed.value);
  checkHonoured(config, honouredUdpProxy, path, unknown);
  if (config.statPrefix === "") refuse(`${path}.stat_prefix`, "is required");
  const action = config.matcher?.onNoMatch?.action?.typedConfig;
  if (action === undefined) {
    if (config.matcher !== undefined) refuse(`${path}.matcher.on_no_match.action`, "is required");
    if (config.cluster === undefined) refuse(`${path}.matcher`, "is required");
    return { config, cluster: config.cluster };
  }
  if (action.typeUrl !== `${prefix}Route`) {
    refuse(`${path}.matcher.on_no_match.action`, `'${action.typeUrl}' is not supported`);
  }
  return { config, cluster: Route.decode(action.value).cluster };
}
