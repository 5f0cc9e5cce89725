/** `/clusters` as Envoy prints it: what each cluster balances over now. */
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import type { RunningCluster } from "../cluster/running-cluster.ts";

export function clustersText(clusters: readonly RunningCluster[]): string {
  let text = "";
  for (const cluster of clusters) {
    const { name, plan } = cluster;
    text += `${name}::observability_name::${cluster.statName}\n`;
    text += `${name}::default_priority::max_connections::${plan.limits.connection}\n`;
    text += `${name}::default_priority::max_pending_requests::${plan.limits.pending}\n`;
    text += `${name}::default_priority::max_requests::${plan.limits.request}\n`;
    text += `${name}::default_priority::max_retries::${plan.limits.retry}\n`;
    text += `${name}::added_via_api::true\n`;
    for (const { endpoint, priority } of endpointsOf(cluster)) {
      const prefix = `${name}::${formatSocketAddress(endpoint.address)}::`;
      text += `${prefix}rq_active::${endpoint.active}\n`;
      text += `${prefix}hostname::${endpoint.hostname}\n`;
      text += `${prefix}health_flags::${healthFlags(cluster, endpoint)}\n`;
      text += `${prefix}weight::${endpoint.weight}\n`;
      text += `${prefix}priority::${priority}\n`;
    }
  }
  return text;
}

export function clustersJson(clusters: readonly RunningCluster[]): unknown {
  return {
    cluster_statuses: clusters.map((cluster) => ({
      name: cluster.name,
      added_via_api: true,
      observability_name: cluster.statName,
      host_statuses: endpointsOf(cluster).map(({ endpoint, priority }) => ({
        address: {
          socket_address: {
            address: endpoint.address.address,
            port_value: endpoint.address.port,
          },
        },
        stats: [{ type: "GAUGE", name: "rq_active", value: String(endpoint.active) }],
        health_status: {
          eds_health_status: endpoint.isHealthy ? "HEALTHY" : "UNHEALTHY",
          ...(cluster.isEjected(endpoint) ? { failed_outlier_check: true } : {}),
        },
        weight: endpoint.weight,
        hostname: endpoint.hostname,
        priority,
      })),
    })),
  };
}

function endpointsOf(
  cluster: RunningCluster,
): readonly { readonly endpoint: Endpoint; readonly priority: number }[] {
  return cluster.localities.flatMap(({ priority, members }) =>
    members.map((endpoint) => ({ endpoint, priority })),
  );
}

function healthFlags(cluster: RunningCluster, endpoint: Endpoint): string {
  const flags = [
    cluster.isEjected(endpoint) ? "/failed_outlier_check" : "",
    endpoint.isHealthy ? "" : "/failed_eds_health",
  ].join("");
  return flags === "" ? "healthy" : flags;
}
