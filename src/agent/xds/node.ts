/** How a sidecar introduces itself to the control plane: Istio's node id and metadata. */
import type { SidecarOptions } from "../../base/sidecar-options.ts";
import { Node } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";

export function nodeOf(options: SidecarOptions): Node {
  const { instance } = options;
  return Node.fromPartial({
    id: options.nodeId,
    cluster: `${instance.workload}.${instance.namespace}`,
    metadata: nodeMetadata(options),
    userAgentName: options.dataPlane,
  });
}

/** Also the `metadata` of Envoy's bootstrap node. */
export function nodeMetadata({
  instance,
  dataPlane,
  capture,
}: SidecarOptions): Readonly<Record<string, unknown>> {
  return {
    NAME: instance.name,
    NAMESPACE: instance.namespace,
    WORKLOAD_NAME: instance.workload,
    SERVICE_ACCOUNT: instance.serviceAccount,
    LABELS: instance.labels,
    INTERCEPTION_MODE: capture === "transparent" ? "REDIRECT" : "NONE",
    HEDDLE_DATA_PLANE: dataPlane,
  };
}
