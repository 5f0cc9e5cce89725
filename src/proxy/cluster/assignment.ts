/** ClusterLoadAssignment → endpoints by locality. Throws a refusal for what cannot be honoured. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ClientTls } from "../../net/dialler.ts";
import type { Address } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";
import { HealthStatus } from "../../wire/gen/ts/envoy/config/core/v3/health_check.ts";
import type { ClusterLoadAssignment } from "../../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import type { LbEndpoint } from "../../wire/gen/ts/envoy/config/endpoint/v3/endpoint_components.ts";
import { parseIp } from "../engine/ip.ts";
import { refuse } from "../engine/refusal.ts";
import type { EndpointDescription, EndpointMetadata } from "./endpoint.ts";
import { flattenMetadata } from "./metadata.ts";
import type { LocalityDescription } from "./running-cluster.ts";

export type TlsFor = (metadata: EndpointMetadata) => ClientTls | undefined;

/** With `names` an address may be a hostname, which DNS resolves. */
export function readAssignment(
  assignment: ClusterLoadAssignment,
  tlsFor: TlsFor,
  allowed: "addresses" | "names",
): readonly LocalityDescription[] {
  if ((assignment.policy?.dropOverloads ?? []).length > 0) {
    refuse("policy.drop_overloads", "is not supported");
  }
  return assignment.endpoints.map((locality, i) => ({
    priority: locality.priority,
    weight: locality.loadBalancingWeight ?? 0,
    endpoints: locality.lbEndpoints.map((entry, j) => {
      const path = `endpoints[${i}].lb_endpoints[${j}]`;
      const endpoint = readEndpoint(entry, tlsFor, path);
      const { address } = endpoint.address;
      if (allowed === "addresses" && parseIp(address) === undefined) {
        refuse(`${path}.endpoint.address`, `'${address}' is no IP address`);
      }
      return endpoint;
    }),
  }));
}

export function overprovisioningOf(assignment: ClusterLoadAssignment): number {
  return (assignment.policy?.overprovisioningFactor ?? 140) / 100;
}

const fit: ReadonlySet<number> = new Set([HealthStatus.UNKNOWN, HealthStatus.HEALTHY]);

function readEndpoint(entry: LbEndpoint, tlsFor: TlsFor, path: string): EndpointDescription {
  if (entry.endpoint === undefined) return refuse(`${path}.endpoint`, "is required");
  const metadata = flattenMetadata(entry.metadata);
  return {
    address: readAddress(entry.endpoint.address, `${path}.endpoint.address`),
    hostname: entry.endpoint.hostname,
    weight: entry.loadBalancingWeight ?? 1,
    isHealthy: fit.has(entry.healthStatus),
    metadata,
    tls: tlsFor(metadata),
  };
}

function readAddress(address: Address | undefined, path: string): SocketAddress {
  const socket = address?.socketAddress;
  if (socket === undefined) return refuse(path, "only socket addresses are supported");
  if (socket.portValue === undefined) refuse(`${path}.socket_address.port_value`, "is required");
  return { address: socket.address, port: socket.portValue };
}
