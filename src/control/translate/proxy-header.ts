/** PROXY headers towards a service (DestinationRule `proxyProtocol`): around whatever socket it has, as Istio. */
import type { TrafficPolicy } from "../../model/destination-rule.ts";
import { ProxyProtocolConfig_Version as Version } from "../../wire/gen/es/envoy/config/core/v3/proxy_protocol_pb.ts";
import { ProxyProtocolUpstreamTransportSchema } from "../../wire/gen/es/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol_pb.ts";
import { typedConfig } from "./proto.ts";
import { rawBuffer, type TransportSocketInit } from "./tls.ts";

/** The sockets of a cluster; none is plaintext. */
export interface SocketFields {
  readonly transportSocket?: TransportSocketInit;
  readonly transportSocketMatches?: SocketMatch[];
}

interface SocketMatch {
  readonly name: string;
  readonly match: Record<string, string>;
  readonly transportSocket: TransportSocketInit;
}

export function withProxyHeader(
  sockets: SocketFields,
  header: TrafficPolicy["proxyProtocol"],
): SocketFields {
  if (header === undefined) return sockets;
  const { transportSocket, transportSocketMatches } = sockets;
  const version = header.version === "V2" ? Version.V2 : Version.V1;
  const wrap = (socket: TransportSocketInit): TransportSocketInit => ({
    name: "envoy.transport_sockets.upstream_proxy_protocol",
    configType: typedConfig(ProxyProtocolUpstreamTransportSchema, {
      config: { version },
      transportSocket: socket,
    }),
  });
  if (transportSocketMatches === undefined) {
    return { transportSocket: wrap(transportSocket ?? rawBuffer()) };
  }
  return {
    transportSocketMatches: transportSocketMatches.map((match) => ({
      ...match,
      transportSocket: wrap(match.transportSocket),
    })),
  };
}
