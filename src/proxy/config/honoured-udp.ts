/** Which fields of listeners of UDP, and of their proxy, are honoured. */
import type { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { UdpProxyConfig } from "../../wire/gen/ts/envoy/extensions/filters/udp/udp_proxy/v3/udp_proxy.ts";
import type { Honoured } from "./honoured.ts";

const address = {
  socketAddress: { address: true, portValue: true, protocol: true, namedPort: "absent" },
} as const;

export const honouredUdpListener: Honoured<Listener> = {
  name: true,
  address,
  additionalAddresses: { address },
  metadata: true,
  statPrefix: true,
  trafficDirection: true,
  transparent: true,
  bindToPort: true,
  // One thread receives.
  enableReusePort: true,
  reusePort: true,
  listenerFilters: { name: true, typedConfig: true },
  udpListenerConfig: {},
  useOriginalDst: "zero",
  freebind: "zero",
  perConnectionBufferLimitBytes: "absent",
  tcpFastOpenQueueLength: "absent",
  tcpBacklogSize: "absent",
  maxConnectionsToAcceptPerSocketEvent: "absent",
};

export const honouredUdpProxy: Honoured<UdpProxyConfig> = {
  statPrefix: true,
  cluster: true,
  matcher: { onNoMatch: { action: { name: true, typedConfig: true } } },
  idleTimeout: true,
  hashPolicies: { sourceIp: true, key: "absent" },
  accessLog: true,
};
