/** Endpoints of a cluster: the ready instances (or declared addresses) behind a service port. */
import { create } from "@bufbuild/protobuf";

import type { Subset } from "../../model/destination-rule.ts";
import { selects } from "../../model/matching.ts";
import { HealthStatus } from "../../wire/gen/es/envoy/config/core/v3/health_check_pb.ts";
import type {
  LbEndpointSchema,
  LocalityLbEndpointsSchema,
} from "../../wire/gen/es/envoy/config/endpoint/v3/endpoint_components_pb.ts";
import type { ClusterLoadAssignment } from "../../wire/gen/es/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../wire/gen/es/envoy/config/endpoint/v3/endpoint_pb.ts";
import type { MeshEndpoint, MeshPort, MeshShape } from "../mesh-model.ts";
import { mtlsModeFor } from "../mesh/security.ts";
import { isClosedToUdp } from "../mesh/udp.ts";
import { endpointMetadata } from "./metadata.ts";
import type { Init } from "./proto.ts";
import { socketAddress } from "./proto.ts";

export interface AssignmentTarget {
  readonly endpoints: readonly MeshEndpoint[];
  readonly port: MeshPort;
  readonly subset: Subset | undefined;
}

/** By locality, in order of locality and address: equal endpoints give equal bytes. */
export function loadAssignment(
  clusterName: string,
  model: MeshShape,
  { endpoints, port, subset }: AssignmentTarget,
): ClusterLoadAssignment {
  const byLocality = new Map<string, Init<typeof LbEndpointSchema>[]>();
  for (const endpoint of endpoints) {
    if (!selects(subset?.labels, endpoint.labels)) continue;
    const built = lbEndpoint(model, endpoint, port);
    if (built === undefined) continue;
    const locality = endpoint.locality ?? "";
    const group = byLocality.get(locality) ?? [];
    group.push(built);
    byLocality.set(locality, group);
  }
  const localities = [...byLocality].toSorted(([left], [right]) => (left < right ? -1 : 1));
  return create(ClusterLoadAssignmentSchema, {
    clusterName,
    endpoints: localities.map(([locality, lbEndpoints]) => localityOf(locality, lbEndpoints)),
  });
}

function localityOf(
  locality: string,
  lbEndpoints: Init<typeof LbEndpointSchema>[],
): Init<typeof LocalityLbEndpointsSchema> {
  const [region = "", zone = "", subZone = ""] = locality.split("/");
  const weight = lbEndpoints.reduce((sum, one) => sum + (one.loadBalancingWeight ?? 1), 0);
  return {
    ...(locality === "" ? {} : { locality: { region, zone, subZone } }),
    loadBalancingWeight: weight,
    lbEndpoints,
  };
}

function lbEndpoint(
  model: MeshShape,
  endpoint: MeshEndpoint,
  port: MeshPort,
): Init<typeof LbEndpointSchema> | undefined {
  const target = endpoint.targets.get(port.number);
  if (target === undefined || endpoint.weight === 0) return undefined;
  const { instance } = endpoint;
  const isUdp = port.protocol === "udp";
  if (isUdp && instance !== undefined && isClosedToUdp(model, instance, port.targetPort)) {
    return undefined;
  }
  // A port whose policy is DISABLE takes plaintext only: callers must not start TLS there.
  const speaksMtls =
    !isUdp && instance !== undefined && mtlsModeFor(model, instance, port.targetPort) !== "DISABLE";
  return {
    hostIdentifier: {
      case: "endpoint",
      value: { address: socketAddress(target.address, target.port) },
    },
    healthStatus: HealthStatus.HEALTHY,
    loadBalancingWeight: endpoint.weight,
    metadata: endpointMetadata(instance, speaksMtls),
  };
}
