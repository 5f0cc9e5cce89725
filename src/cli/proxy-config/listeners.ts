import type { Address } from "../../wire/gen/es/envoy/config/core/v3/address_pb.ts";
import type {
  FilterChain,
  FilterChainMatch,
} from "../../wire/gen/es/envoy/config/listener/v3/listener_components_pb.ts";
import type { Listener } from "../../wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import type { HttpConnectionManager } from "../../wire/gen/es/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import type { TcpProxy } from "../../wire/gen/es/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import { type ProxyDump, unpack } from "./dump.ts";
import type { ViewFilter } from "./filter.ts";
import type { View } from "./view.ts";

export function viewListeners(dump: ProxyDump, filter: ViewFilter): View {
  const shown = dump.listeners.filter(
    ({ message }) =>
      (filter.name === undefined || filter.name === message.name) &&
      (filter.port === undefined || filter.port === addressOf(message.address).port),
  );
  return {
    head: ["NAME", "ADDRESS", "PORT", "MATCH", "TLS", "DESTINATION"],
    rows: shown.flatMap(({ message }) => rowsOf(message)),
    json: shown.map(({ json }) => json),
  };
}

function rowsOf(listener: Listener): readonly (readonly string[])[] {
  const { address, port } = addressOf(listener.address);
  const chains = [
    ...listener.filterChains,
    ...(listener.defaultFilterChain === undefined ? [] : [listener.defaultFilterChain]),
  ];
  return chains.map((chain) => [
    listener.name,
    address,
    port,
    formatMatch(chain.filterChainMatch),
    chain.transportSocket?.name.endsWith(".tls") === true ? "yes" : "no",
    destinationOf(chain),
  ]);
}

function addressOf(address: Address | undefined): { address: string; port: string } {
  const specifier = address?.address;
  if (specifier?.case === "pipe") return { address: specifier.value.path, port: "-" };
  if (specifier?.case !== "socketAddress") return { address: "-", port: "-" };
  const { portSpecifier } = specifier.value;
  return {
    address: specifier.value.address,
    port: portSpecifier.case === "portValue" ? String(portSpecifier.value) : "-",
  };
}

function formatMatch(match: FilterChainMatch | undefined): string {
  if (match === undefined) return "ALL";
  const parts = [
    match.destinationPort === undefined ? "" : `port ${match.destinationPort}`,
    match.prefixRanges
      .map(({ addressPrefix, prefixLen }) => `${addressPrefix}/${prefixLen ?? 0}`)
      .join(","),
    match.serverNames.length === 0 ? "" : `SNI ${match.serverNames.join(",")}`,
    match.transportProtocol,
    match.applicationProtocols.length === 0 ? "" : `ALPN ${match.applicationProtocols.join(",")}`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "ALL" : parts.join("; ");
}

function destinationOf(chain: FilterChain): string {
  for (const filter of chain.filters) {
    const config = filter.configType.case === "typedConfig" ? filter.configType.value : undefined;
    const message = unpack(config);
    if (message === undefined) continue;
    if (isHttp(message)) return `HTTP, ${routesOf(message)}`;
    if (isTcp(message)) return `TCP, ${clusterOf(message)}`;
  }
  return "-";
}

function isHttp(message: { $typeName: string }): message is HttpConnectionManager {
  return message.$typeName.endsWith(".HttpConnectionManager");
}

function isTcp(message: { $typeName: string }): message is TcpProxy {
  return message.$typeName.endsWith(".TcpProxy");
}

function routesOf({ routeSpecifier }: HttpConnectionManager): string {
  switch (routeSpecifier.case) {
    case "rds":
      return `route ${routeSpecifier.value.routeConfigName}`;
    case "routeConfig":
      return `inline route ${routeSpecifier.value.name}`;
    case "scopedRoutes":
    case undefined:
      return "-";
  }
}

function clusterOf({ clusterSpecifier }: TcpProxy): string {
  switch (clusterSpecifier.case) {
    case "cluster":
      return clusterSpecifier.value;
    case "weightedClusters":
      return clusterSpecifier.value.clusters
        .map(({ name, weight }) => `${name} ${weight}`)
        .join(", ");
    case undefined:
      return "-";
  }
}
