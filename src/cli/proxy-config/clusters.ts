import {
  Cluster_DiscoveryType,
  type Cluster,
} from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import { parseClusterName } from "./cluster-name.ts";
import type { ProxyDump } from "./dump.ts";
import { matchesCluster, type ViewFilter } from "./filter.ts";
import { enumName } from "./enum-name.ts";
import type { View } from "./view.ts";

export function viewClusters(dump: ProxyDump, filter: ViewFilter): View {
  const shown = dump.clusters.filter(({ message }) => matchesCluster(filter, message.name));
  return {
    head: ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "TLS", "STATE"],
    rows: shown
      .map(({ message, state }) => {
        const name = parseClusterName(message.name);
        return [
          name?.fqdn === undefined || name.fqdn === "" ? message.name : name.fqdn,
          name?.port ?? "-",
          name?.subset === undefined || name.subset === "" ? "-" : name.subset,
          name?.direction ?? "-",
          typeOf(message),
          tlsOf(message),
          state,
        ];
      })
      .toSorted((a, b) => a.join().localeCompare(b.join())),
    json: shown.map(({ json }) => json),
  };
}

function typeOf(cluster: Cluster): string {
  switch (cluster.clusterDiscoveryType.case) {
    case "type":
      return enumName(Cluster_DiscoveryType, cluster.clusterDiscoveryType.value);
    case "clusterType":
      return cluster.clusterDiscoveryType.value.name;
    case undefined:
      return "STATIC";
  }
}

function tlsOf(cluster: Cluster): string {
  if (cluster.transportSocketMatches.length > 0) return "by endpoint";
  return cluster.transportSocket?.name.endsWith(".tls") === true ? "yes" : "no";
}
