/** The resources that a cluster or a listener names, read from its bytes. */
import {
  Cluster,
  Cluster_DiscoveryType,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import type { FilterChain } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";

/** ClusterLoadAssignment names. Throws when the bytes are no cluster. */
export function endpointNamesOf(bytes: Uint8Array): readonly string[] {
  const cluster = Cluster.decode(bytes);
  if (cluster.type !== Cluster_DiscoveryType.EDS) return [];
  const serviceName = cluster.edsClusterConfig?.serviceName ?? "";
  return [serviceName === "" ? cluster.name : serviceName];
}

const connectionManager =
  "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/** RouteConfiguration names. Throws when the bytes are no listener. */
export function routeNamesOf(bytes: Uint8Array): readonly string[] {
  const listener = Listener.decode(bytes);
  const { defaultFilterChain } = listener;
  const chains: FilterChain[] =
    defaultFilterChain === undefined
      ? listener.filterChains
      : [...listener.filterChains, defaultFilterChain];
  const names = new Set<string>();
  for (const { filters } of chains) {
    for (const { typedConfig } of filters) {
      if (typedConfig?.typeUrl !== connectionManager) continue;
      const name = HttpConnectionManager.decode(typedConfig.value).rds?.routeConfigName ?? "";
      if (name !== "") names.add(name);
    }
  }
  return [...names];
}
