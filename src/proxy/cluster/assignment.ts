/** ClusterLoadAssignment → endpoints by locality. Throws a refusal for what cannot be honoured. */
import { isPipe, type SocketAddress } from "../../base/socket-address.ts";
import type { ClientTls } from "../../net/dialler.ts";
import type { Address } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";
import type { Locality, Metadata } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { HealthStatus } from "../../wire/gen/ts/envoy/config/core/v3/health_check.ts";
import { PerHostConfig } from "../../wire/gen/ts/envoy/config/core/v3/proxy_protocol.ts";
import type { ClusterLoadAssignment } from "../../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import type {
  Endpoint as ProtoEndpoint,
  Endpoint_HealthCheckConfig as HealthCheckConfig,
  LbEndpoint,
} from "../../wire/gen/ts/envoy/config/endpoint/v3/endpoint_components.ts";
import { durationMs } from "../engine/duration.ts";
import { parseIp } from "../engine/ip.ts";
import { pipeAddress } from "../engine/pipe.ts";
import { refuse } from "../engine/refusal.ts";
import { internalAddress } from "../internal.ts";
import { fractionOf } from "../engine/route-match.ts";
import type {
  EndpointCheck,
  EndpointDescription,
  EndpointMetadata,
  EndpointStatus,
} from "./endpoint.ts";
import { flattenMetadata, subsetValuesOf } from "./metadata.ts";
import { compileTlvs } from "./proxy-header.ts";
import type { LocalityDescription } from "./running-cluster.ts";

export type TlsFor = (metadata: EndpointMetadata) => ClientTls | undefined;

/** With `names` an address may be a hostname, which DNS resolves. */
export function readAssignment(
  assignment: ClusterLoadAssignment,
  tlsFor: TlsFor,
  allowed: "addresses" | "names",
): readonly LocalityDescription[] {
  return assignment.endpoints.map((locality, i) => ({
    name: localityName(locality.locality),
    priority: readPriority(locality.priority, `endpoints[${i}].priority`),
    weight: locality.loadBalancingWeight ?? 0,
    endpoints: locality.lbEndpoints.map((entry, j) => {
      const path = `endpoints[${i}].lb_endpoints[${j}]`;
      const endpoint = readEndpoint(entry, tlsFor, path);
      if (allowed === "names" && endpoint.others !== undefined) {
        const place = `${path}.endpoint.additional_addresses`;
        refuse(place, "is not supported where names are resolved: those lead to addresses");
      }
      const { address } = endpoint.address;
      if (allowed === "names" && isPipe(address)) {
        refuse(`${path}.endpoint.address.pipe`, "is not supported where names are resolved");
      }
      const isPlace = endpoint.listener !== undefined || isPipe(address);
      if (allowed === "addresses" && !isPlace && parseIp(address) === undefined) {
        refuse(`${path}.endpoint.address`, `'${address}' is no IP address`);
      }
      return endpoint;
    }),
  }));
}

/** As Envoy. */
const priorityMax = 128;

function readPriority(priority: number, path: string): number {
  if (priority > priorityMax) refuse(path, `must be at most ${priorityMax}`);
  return priority;
}

export function localityName(locality: Locality | undefined): string {
  if (locality === undefined) return "";
  return `${locality.region}/${locality.zone}/${locality.subZone}`;
}

/** What an assignment says of all its endpoints together. */
export interface AssignmentPolicy {
  readonly overprovisioningPercent: number;
  readonly isHealthWeighted: boolean;
  /** From 0 to 1. */
  readonly dropShare: number;
  /** Endpoints that nobody has spoken of for so long are forgotten; 0 = never. */
  readonly staleAfterMs: number;
}

export const plainPolicy: AssignmentPolicy = {
  overprovisioningPercent: 140,
  isHealthWeighted: false,
  dropShare: 0,
  staleAfterMs: 0,
};

export function readPolicy({ policy }: ClusterLoadAssignment): AssignmentPolicy {
  if (policy === undefined) return plainPolicy;
  const { dropOverloads, overprovisioningFactor: percent = 140 } = policy;
  if (dropOverloads.length > 1) {
    refuse("policy.drop_overloads[1]", "is not supported: there can be one category");
  }
  if (percent === 0) refuse("policy.overprovisioning_factor", "must be greater than 0");
  const share = dropOverloads[0]?.dropPercentage;
  const dropShare = share === undefined ? 0 : fractionOf(share);
  if (dropShare > 1) refuse("policy.drop_overloads[0].drop_percentage", "is more than everything");
  return {
    overprovisioningPercent: percent,
    isHealthWeighted: policy.weightedPriorityHealth,
    dropShare,
    staleAfterMs: durationMs(policy.endpointStaleAfter) ?? 0,
  };
}

export const statuses: Readonly<Record<number, EndpointStatus>> = {
  [HealthStatus.UNKNOWN]: "UNKNOWN",
  [HealthStatus.HEALTHY]: "HEALTHY",
  [HealthStatus.UNHEALTHY]: "UNHEALTHY",
  [HealthStatus.DRAINING]: "DRAINING",
  [HealthStatus.TIMEOUT]: "TIMEOUT",
  [HealthStatus.DEGRADED]: "DEGRADED",
};

function readEndpoint(entry: LbEndpoint, tlsFor: TlsFor, path: string): EndpointDescription {
  if (entry.endpoint === undefined) return refuse(`${path}.endpoint`, "is required");
  const metadata = flattenMetadata(entry.metadata);
  const place = readPlace(entry.endpoint.address, `${path}.endpoint.address`);
  const check = `${path}.endpoint.health_check_config`;
  if (isPipe(place.address.address) && (entry.endpoint.healthCheckConfig?.portValue ?? 0) !== 0) {
    refuse(`${check}.port_value`, "is not supported of a Unix socket, which has no port");
  }
  return {
    ...place,
    others: readOthers(entry.endpoint, `${path}.endpoint`),
    hostname: entry.endpoint.hostname,
    weight: entry.loadBalancingWeight ?? 1,
    status: statuses[entry.healthStatus] ?? "UNKNOWN",
    subsetValues: subsetValuesOf(entry.metadata),
    metadata,
    tlvs: readTlvs(entry.metadata, `${path}.metadata.typed_filter_metadata`),
    tls: tlsFor(metadata),
    check: readCheck(entry.endpoint.healthCheckConfig, check),
  };
}

/** Of one endpoint, beside its first. */
export const othersMax = 15;

function readOthers(
  { address, additionalAddresses: others }: ProtoEndpoint,
  path: string,
): readonly SocketAddress[] | undefined {
  if (others.length === 0) return undefined;
  const place = `${path}.additional_addresses`;
  if (address?.socketAddress === undefined) refuse(place, "goes with socket addresses alone");
  if (others.length > othersMax) refuse(place, `there can be ${othersMax}`);
  return others.map((other, i) => {
    const read = readAddress(other.address, `${place}[${i}].address`);
    if (parseIp(read.address) !== undefined) return read;
    return refuse(`${place}[${i}].address`, `'${read.address}' is no IP address`);
  });
}

const headerNamespace = "envoy.transport_sockets.proxy_protocol";

function readTlvs(metadata: Metadata | undefined, path: string): EndpointDescription["tlvs"] {
  const written = metadata?.typedFilterMetadata[headerNamespace];
  if (written === undefined) return undefined;
  const { addedTlvs } = PerHostConfig.decode(written.value);
  return compileTlvs(addedTlvs, `${path}[${headerNamespace}].added_tlvs`);
}

function readCheck(config: HealthCheckConfig | undefined, path: string): EndpointCheck | undefined {
  if (config === undefined) return undefined;
  const { address, portValue, hostname, disableActiveHealthCheck: isOff } = config;
  if (portValue > 65_535) refuse(`${path}.port_value`, "is no port");
  if (!/^[\x21-\x7e]*$/.test(hostname)) refuse(`${path}.hostname`, "is no name of a host");
  if (address === undefined) return { address: undefined, port: portValue, hostname, isOff };
  const own = readAddress(address, `${path}.address`);
  if (isPipe(own.address)) {
    if (portValue !== 0) refuse(`${path}.port_value`, "is not supported of a Unix socket");
  } else if (parseIp(own.address) === undefined) {
    refuse(`${path}.address`, `'${own.address}' is no IP address`);
  }
  return { address: own.address, port: portValue || own.port, hostname, isOff };
}

/** An address, or a listener of this proxy. */
function readPlace(
  address: Address | undefined,
  path: string,
): Pick<EndpointDescription, "address" | "listener"> {
  const internal = address?.envoyInternalAddress;
  if (internal === undefined) return { address: readAddress(address, path) };
  const { serverListenerName: listener = "", endpointId } = internal;
  if (listener === "") {
    refuse(`${path}.envoy_internal_address.server_listener_name`, "is required");
  }
  return { address: internalAddress(listener, endpointId), listener };
}

function readAddress(address: Address | undefined, path: string): SocketAddress {
  if (address?.pipe !== undefined) return pipeAddress(address.pipe, path);
  const socket = address?.socketAddress;
  if (socket === undefined) return refuse(path, "only socket addresses and pipes are supported");
  if (socket.portValue === undefined) refuse(`${path}.socket_address.port_value`, "is required");
  return { address: socket.address, port: socket.portValue };
}
