/** `/clusters` as Envoy prints it: what each cluster balances over now. */
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { Endpoint, EndpointStatus } from "../cluster/endpoint.ts";
import type { RunningCluster } from "../cluster/running-cluster.ts";

/** What one thread knows of an endpoint that carries traffic or has been ejected. */
export interface EndpointLoad {
  readonly cluster: string;
  readonly address: string;
  readonly active: number;
  readonly isEjected: boolean;
}

/** Only of endpoints of which there is something to say. */
export function loadsOf(clusters: readonly RunningCluster[]): readonly EndpointLoad[] {
  return clusters.flatMap((cluster) =>
    endpointsOf(cluster).flatMap(({ endpoint }) => {
      const isEjected = cluster.isEjected(endpoint);
      if (endpoint.active === 0 && !isEjected) return [];
      const address = formatSocketAddress(endpoint.address);
      return [{ cluster: cluster.name, address, active: endpoint.active, isEjected }];
    }),
  );
}

/** Of all threads: requests add up, and who is ejected by one is shown as ejected. */
class Loads {
  readonly #byKey = new Map<string, EndpointLoad>();

  constructor(loads: readonly EndpointLoad[]) {
    for (const load of loads) {
      const key = `${load.cluster} ${load.address}`;
      const known = this.#byKey.get(key);
      this.#byKey.set(key, {
        ...load,
        active: load.active + (known?.active ?? 0),
        isEjected: load.isEjected || known?.isEjected === true,
      });
    }
  }

  of(cluster: RunningCluster, endpoint: Endpoint): EndpointLoad | undefined {
    return this.#byKey.get(`${cluster.name} ${formatSocketAddress(endpoint.address)}`);
  }
}

export function clustersText(
  clusters: readonly RunningCluster[],
  threads: readonly EndpointLoad[],
): string {
  const loads = new Loads(threads);
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
      const load = loads.of(cluster, endpoint);
      const prefix = `${name}::${formatSocketAddress(endpoint.address)}::`;
      text += `${prefix}rq_active::${load?.active ?? 0}\n`;
      text += `${prefix}hostname::${endpoint.hostname}\n`;
      text += `${prefix}health_flags::${healthFlags(endpoint, load)}\n`;
      text += `${prefix}weight::${endpoint.weight}\n`;
      text += `${prefix}priority::${priority}\n`;
    }
  }
  return text;
}

export function clustersJson(
  clusters: readonly RunningCluster[],
  threads: readonly EndpointLoad[],
): unknown {
  const loads = new Loads(threads);
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
        stats: [
          {
            type: "GAUGE",
            name: "rq_active",
            value: String(loads.of(cluster, endpoint)?.active ?? 0),
          },
        ],
        health_status: {
          eds_health_status: endpoint.status === "UNKNOWN" ? "HEALTHY" : endpoint.status,
          ...(loads.of(cluster, endpoint)?.isEjected === true
            ? { failed_outlier_check: true }
            : {}),
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

const edsFlags: { readonly [Status in EndpointStatus]?: string } = {
  UNHEALTHY: "/failed_eds_health",
  TIMEOUT: "/failed_eds_health",
  DRAINING: "/eds_status_draining",
  DEGRADED: "/degraded_eds_health",
};

function healthFlags(endpoint: Endpoint, load: EndpointLoad | undefined): string {
  const flags = [
    load?.isEjected === true ? "/failed_outlier_check" : "",
    edsFlags[endpoint.status] ?? "",
  ].join("");
  return flags === "" ? "healthy" : flags;
}
