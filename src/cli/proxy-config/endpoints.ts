import { fromJson } from "@bufbuild/protobuf";

import {
  ClustersSchema,
  type HostHealthStatus,
} from "../../wire/gen/es/envoy/admin/v3/clusters_pb.ts";
import type { Address } from "../../wire/gen/es/envoy/config/core/v3/address_pb.ts";
import { HealthStatus } from "../../wire/gen/es/envoy/config/core/v3/health_check_pb.ts";
import { registry } from "../../wire/gen/es/registry.ts";
import { enumName } from "./enum-name.ts";
import { matchesCluster, type ViewFilter } from "./filter.ts";
import type { View } from "./view.ts";

/** Endpoints as the proxy balances over them now: `text` is `/clusters?format=json`. */
export function viewEndpoints(text: string, filter: ViewFilter): View {
  const { clusterStatuses } = fromJson(ClustersSchema, JSON.parse(text), {
    registry,
    ignoreUnknownFields: true,
  });
  const shown = clusterStatuses.filter(({ name }) => matchesCluster(filter, name));
  return {
    head: ["ENDPOINT", "STATUS", "OUTLIER CHECK", "WEIGHT", "CLUSTER"],
    rows: shown.flatMap(({ name, hostStatuses }) =>
      hostStatuses.map((host) => [
        formatAddress(host.address),
        enumName(HealthStatus, healthOf(host.healthStatus)),
        isEjected(host.healthStatus) ? "EJECTED" : "OK",
        String(host.weight),
        name,
      ]),
    ),
    json: shown.map((status) => ({
      name: status.name,
      endpoints: status.hostStatuses.map((host) => ({
        address: formatAddress(host.address),
        healthStatus: enumName(HealthStatus, healthOf(host.healthStatus)),
        isEjected: isEjected(host.healthStatus),
        weight: host.weight,
      })),
    })),
  };
}

/** What the proxy's own checks have found counts before what its control plane says. */
function healthOf(status: HostHealthStatus | undefined): HealthStatus {
  if (status === undefined) return HealthStatus.UNKNOWN;
  const { edsHealthStatus: told } = status;
  if (status.failedActiveHealthCheck) return HealthStatus.UNHEALTHY;
  const isFit = told === HealthStatus.UNKNOWN || told === HealthStatus.HEALTHY;
  return status.failedActiveDegradedCheck && isFit ? HealthStatus.DEGRADED : told;
}

function isEjected(status: HostHealthStatus | undefined): boolean {
  return status?.failedOutlierCheck === true;
}

function formatAddress(address: Address | undefined): string {
  const specifier = address?.address;
  if (specifier?.case === "pipe") return specifier.value.path;
  if (specifier?.case !== "socketAddress") return "-";
  const { portSpecifier } = specifier.value;
  const port = portSpecifier.case === "portValue" ? portSpecifier.value : 0;
  return `${specifier.value.address}:${port}`;
}
