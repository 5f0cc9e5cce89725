/** What endpoints and clusters say about themselves for metrics (docs/decisions/0003). */
import type { JsonObject } from "@bufbuild/protobuf";

import type { WorkloadInstance } from "../../model/workload.ts";
import type { PeerLabels } from "../../telemetry/standard-metrics.ts";
import { metadataKeys, unknownPeer } from "../../telemetry/standard-metrics.ts";
import type { MetadataSchema } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import type { ServiceShape } from "../mesh-model.ts";
import type { Init } from "./proto.ts";

type MetadataInit = Init<typeof MetadataSchema>;

const clusterId = "Kubernetes";

/** What metrics call a workload by. */
export type LabelledWorkload = Pick<WorkloadInstance, "name" | "labels" | "workload" | "namespace">;

/** The labels of a workload in Istio's metrics, with Istio's words for what is not known. */
export function peerLabelsOf(instance: LabelledWorkload): PeerLabels {
  const { labels, workload, namespace } = instance;
  const app = labels["app"] ?? labels["app.kubernetes.io/name"];
  const version = labels["version"] ?? labels["app.kubernetes.io/version"];
  return {
    workload,
    namespace,
    app: app ?? unknownPeer.app,
    version: version ?? unknownPeer.version,
    canonicalService: labels["service.istio.io/canonical-name"] ?? app ?? workload,
    canonicalRevision: labels["service.istio.io/canonical-revision"] ?? version ?? "latest",
    cluster: clusterId,
  };
}

/** The same under the keys of endpoint metadata and of the peer table. */
export function peerMetadata(instance: LabelledWorkload): Record<string, string> {
  const labels = peerLabelsOf(instance);
  return {
    instance: instance.name,
    [metadataKeys.workload]: labels.workload,
    [metadataKeys.namespace]: labels.namespace,
    [metadataKeys.app]: labels.app,
    [metadataKeys.version]: labels.version,
    [metadataKeys.canonicalService]: labels.canonicalService,
    [metadataKeys.canonicalRevision]: labels.canonicalRevision,
    [metadataKeys.cluster]: labels.cluster,
  };
}

/** `heddle` metadata of an endpoint, and whether its proxy speaks mutual TLS. */
export function endpointMetadata(
  instance: LabelledWorkload | undefined,
  speaksMtls: boolean,
): MetadataInit {
  const filterMetadata: Record<string, JsonObject> = {};
  if (speaksMtls) filterMetadata["envoy.transport_socket_match"] = { tlsMode: "istio" };
  if (instance !== undefined) filterMetadata["heddle"] = peerMetadata(instance);
  return { filterMetadata };
}

/** What the service labels of metrics are read from. */
export function clusterMetadata(
  service: Pick<ServiceShape, "hostname" | "name" | "namespace">,
): MetadataInit {
  return {
    filterMetadata: {
      heddle: {
        service: service.hostname,
        service_name: service.name,
        service_namespace: service.namespace,
      },
    },
  };
}

/** For clusters that stand for no service. */
export function namedClusterMetadata(name: string): MetadataInit {
  return { filterMetadata: { heddle: { service_name: name } } };
}
