/** Which cluster of a bootstrap the proxy itself is of, and where it is. */
import type { Bootstrap } from "../../wire/gen/ts/envoy/config/bootstrap/v3/bootstrap.ts";
import { localityName } from "../cluster/assignment.ts";
import type { LocalCluster } from "../cluster/local-zones.ts";
import { refuse } from "../engine/refusal.ts";

/** Throws a refusal where the file has no such cluster: as in Envoy, it cannot come later. */
export function localClusterOf({
  clusterManager,
  staticResources,
  node,
}: Bootstrap): LocalCluster | undefined {
  const name = clusterManager?.localClusterName ?? "";
  if (name === "") return undefined;
  if (staticResources?.clusters.some((cluster) => cluster.name === name) !== true) {
    refuse("cluster_manager.local_cluster_name", `no static cluster is called '${name}'`);
  }
  return { name, locality: localityName(node?.locality) };
}
