/** `/clusters` as Envoy prints it: what each cluster balances over now. */
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { Endpoint, EndpointStatus } from "../cluster/endpoint.ts";
import type { Limits } from "../engine/circuit-breakers.ts";
import { healthFlag } from "../engine/health-check.ts";
import { addressJson } from "../engine/proto-address.ts";
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
    text += limitsText(`${name}::default_priority`, plan.limits);
    text += limitsText(`${name}::high_priority`, plan.highLimits);
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

function limitsText(prefix: string, limits: Limits): string {
  return [
    `max_connections::${limits.connection}`,
    `max_pending_requests::${limits.pending}`,
    `max_requests::${limits.request}`,
    `max_retries::${limits.retry}`,
  ]
    .map((line) => `${prefix}::${line}\n`)
    .join("");
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
        address: addressJson(endpoint.address),
        stats: [
          {
            type: "GAUGE",
            name: "rq_active",
            value: String(loads.of(cluster, endpoint)?.active ?? 0),
          },
        ],
        health_status: healthStatus(endpoint, loads.of(cluster, endpoint)),
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

/** What may be said against an endpoint, in Envoy's order: as text, and as a field. */
const saidOf: readonly {
  readonly is: (endpoint: Endpoint, load: EndpointLoad | undefined) => boolean;
  readonly text: string;
  readonly field: string | undefined;
}[] = [
  checkFlag(healthFlag.failed, "failed_active_hc", "failed_active_health_check"),
  {
    is: (_endpoint, load) => load?.isEjected === true,
    text: "/failed_outlier_check",
    field: "failed_outlier_check",
  },
  statusFlag(["UNHEALTHY", "TIMEOUT"], "failed_eds_health"),
  checkFlag(healthFlag.degraded, "degraded_active_hc", "failed_active_degraded_check"),
  statusFlag(["DEGRADED"], "degraded_eds_health"),
  {
    is: ({ isLeaving }) => isLeaving,
    text: "/pending_dynamic_removal",
    field: "pending_dynamic_removal",
  },
  checkFlag(healthFlag.pending, "pending_active_hc", "pending_active_hc"),
  checkFlag(
    healthFlag.excluded,
    "excluded_via_immediate_hc_fail",
    "excluded_via_immediate_hc_fail",
  ),
  checkFlag(healthFlag.timedOut, "active_hc_timeout", "active_hc_timeout"),
  statusFlag(["DRAINING"], "eds_status_draining"),
];

function checkFlag(flag: number, text: string, field: string): (typeof saidOf)[number] {
  return { is: ({ checked }) => (checked & flag) !== 0, text: `/${text}`, field };
}

function statusFlag(statuses: readonly EndpointStatus[], text: string): (typeof saidOf)[number] {
  return { is: ({ status }) => statuses.includes(status), text: `/${text}`, field: undefined };
}

function healthFlags(endpoint: Endpoint, load: EndpointLoad | undefined): string {
  const flags = saidOf.flatMap(({ is, text }) => (is(endpoint, load) ? [text] : []));
  return flags.length === 0 ? "healthy" : flags.join("");
}

function healthStatus(endpoint: Endpoint, load: EndpointLoad | undefined): object {
  const said = saidOf.flatMap(({ is, field }) =>
    field !== undefined && is(endpoint, load) ? [[field, true] as const] : [],
  );
  return {
    ...Object.fromEntries(said),
    eds_health_status: endpoint.status === "UNKNOWN" ? "HEALTHY" : endpoint.status,
  };
}
