/** The sidecars whose resources were asked of istiod, as its agents introduce them. */
export interface IstioNode {
  readonly name: "front" | "catalog" | "captured" | "front-hbone" | "catalog-hbone";
  readonly id: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

function node(
  name: IstioNode["name"],
  workload: string,
  address: string,
  mode: "NONE" | "REDIRECT",
  more: Readonly<Record<string, string>> = {},
): IstioNode {
  return {
    name,
    id: `sidecar~${address}~${workload}-1.shop~shop.svc.cluster.local`,
    metadata: {
      NAME: `${workload}-1`,
      NAMESPACE: "shop",
      WORKLOAD_NAME: workload,
      SERVICE_ACCOUNT: workload,
      LABELS: { app: workload, version: "v1" },
      INTERCEPTION_MODE: mode,
      ISTIO_VERSION: "1.32.0",
      CLUSTER_ID: "Kubernetes",
      MESH_ID: "cluster.local",
      INSTANCE_IPS: address,
      ...more,
    },
  };
}

/** The sidecar takes tunnels, and opens them to workloads that say that they do. */
const hbone = { ENABLE_HBONE: "true" };

export const istioNodes: readonly IstioNode[] = [
  node("front", "front", "127.0.0.9", "NONE"),
  node("catalog", "catalog", "127.0.0.1", "NONE"),
  node("captured", "catalog", "127.0.0.1", "REDIRECT"),
  node("front-hbone", "front", "127.0.0.9", "NONE", hbone),
  node("catalog-hbone", "catalog", "127.0.0.1", "NONE", hbone),
];
