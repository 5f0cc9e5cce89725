/** Services, from what the workloads declare and from ServiceEntries, with their endpoints. */
import { allocatedAddresses, type AllocatedPlace } from "../../base/allocated-addresses.ts";
import type { Problem } from "../../base/problem.ts";
import type { ServiceEntry } from "../../model/config-resource.ts";
import { positionOf } from "../../model/config-resource.ts";
import {
  type EntryProtocol,
  pipePath,
  type ServiceEntryEndpoint,
} from "../../model/service-entry.ts";
import type {
  PortProtocol,
  ServiceDeclaration,
  WorkloadInstance,
  WorkloadSnapshot,
} from "../../model/workload.ts";
import type {
  MeshEndpoint,
  MeshPort,
  MeshService,
  Resolution,
  ServiceAccount,
} from "../mesh-model.ts";
import { allocatePlaces } from "./allocation.ts";
import { problemOf } from "./finding.ts";
import { InstanceTable } from "./instances.ts";

/** By which a ServiceEntry's owner declines an address; Istio's. */
const allocationLabel = "networking.istio.io/enable-autoallocate-ip";

export interface ServicesInput {
  readonly workloads: WorkloadSnapshot;
  readonly instances: readonly WorkloadInstance[];
  readonly entries: readonly ServiceEntry[];
  readonly problems: Problem[];
  /** Addresses that hosts were given before. */
  readonly places: ReadonlyMap<string, AllocatedPlace>;
}

export interface Services {
  /** Every service by hostname, in order of hostname. */
  readonly services: ReadonlyMap<string, MeshService>;
  readonly places: ReadonlyMap<string, AllocatedPlace>;
}

/** Of two services with one name the workloads' one stays. */
export function servicesOf(input: ServicesInput): Services {
  const instances = new InstanceTable(input.instances);
  const services: MeshService[] = input.workloads.services.map((declaration) =>
    declaredService(declaration, instances),
  );
  const taken = new Map(services.map((service) => [service.hostname, "the workloads"]));
  for (const entry of input.entries) {
    for (const [index, host] of entry.spec.hosts.entries()) {
      const owner = taken.get(host);
      if (owner !== undefined) {
        input.problems.push(duplicateHost(entry, index, owner));
        continue;
      }
      taken.set(host, `ServiceEntry ${entry.namespace}/${entry.name}`);
      services.push(entryService(entry, host, instances));
    }
  }
  services.sort((left, right) => (left.hostname < right.hostname ? -1 : 1));
  const { places, placed } = withAddresses(services, input);
  return { services: new Map(placed.map((service) => [service.hostname, service])), places };
}

function withAddresses(
  services: readonly MeshService[],
  { instances, places: earlier, problems }: ServicesInput,
): { readonly placed: readonly MeshService[]; readonly places: Services["places"] } {
  const wanting = services.filter(wantsAddress).map(({ hostname }) => hostname);
  const places = allocatePlaces(wanting, earlier);
  const hasIpv6 = instances.some(({ addresses }) => addresses.some((one) => one.includes(":")));
  const placed = services.map((service) => {
    if (!wantsAddress(service)) return service;
    const place = places.get(service.hostname);
    if (place !== undefined) {
      return { ...service, addresses: allocatedAddresses(place, hasIpv6), isAllocated: true };
    }
    if (service.entry !== undefined) problems.push(noAddressLeft(service.entry, service.hostname));
    return service;
  });
  return { placed, places };
}

/** As Istio decides: with resolution NONE the address would be where the connection goes. */
function wantsAddress({ entry, hostname, addresses, resolution }: MeshService): boolean {
  if (entry === undefined || addresses.length > 0 || hostname.startsWith("*")) return false;
  return resolution !== "none" && entry.labels[allocationLabel]?.toLowerCase() !== "false";
}

function noAddressLeft(entry: ServiceEntry, host: string): Problem {
  return problemOf(entry, {
    code: "serviceentry.no-address-left",
    path: "spec.hosts",
    message: `no address of 240.240.0.0/16 is left for ${host}; its TCP ports are not told apart`,
    hint: "give it addresses",
  });
}

function duplicateHost(entry: ServiceEntry, index: number, owner: string): Problem {
  const { kind, namespace, name } = entry;
  const path = `spec.hosts[${index}]`;
  return {
    code: "serviceentry.duplicate-host",
    severity: "error",
    path,
    message: `${entry.spec.hosts[index]} is already declared by ${owner}; this one is left out`,
    source: positionOf(entry, path),
    resource: { kind, namespace, name },
  };
}

function declaredService(declaration: ServiceDeclaration, instances: InstanceTable): MeshService {
  const { name, namespace } = declaration;
  const ports: readonly MeshPort[] = declaration.ports.map((port) => ({
    name: port.name,
    number: port.port,
    targetPort: port.targetPort,
    protocol: port.protocol,
  }));
  const selected = instances.selected(namespace, declaration.selector);
  return {
    hostname: `${name}.${namespace}.svc.cluster.local`,
    namespace,
    name,
    addresses: declaration.addresses,
    isAllocated: false,
    ports,
    resolution: "static",
    isExternal: false,
    exportTo: ["*"],
    subjectAltNames: [],
    endpoints: readyEndpoints(selected, ports),
    instances: selected,
    accounts: accountsOf(selected),
    dnsEndpoints: [],
    entry: undefined,
  };
}

function readyEndpoints(
  instances: readonly WorkloadInstance[],
  ports: readonly MeshPort[],
): MeshEndpoint[] {
  return instances
    .filter((one) => one.state === "ready")
    .map((instance) => instanceEndpoint(instance, ports));
}

function instanceEndpoint(instance: WorkloadInstance, ports: readonly MeshPort[]): MeshEndpoint {
  const targets = new Map<number, { readonly address: string; readonly port: number }>();
  for (const port of ports) {
    const own = instance.ports.find((one) => one.port === port.targetPort);
    const address = instance.addresses[0];
    if (own !== undefined) {
      targets.set(port.number, { address: own.endpointAddress, port: own.endpointPort });
    } else if (instance.capture !== "explicit" && address !== undefined) {
      targets.set(port.number, { address, port: port.targetPort });
    }
  }
  return {
    targets,
    labels: instance.labels,
    locality: instance.locality,
    weight: 1,
    namespace: instance.namespace,
    serviceAccount: instance.serviceAccount,
    instance,
  };
}

function entryService(entry: ServiceEntry, host: string, instances: InstanceTable): MeshService {
  const { spec, namespace } = entry;
  const ports: readonly MeshPort[] = (spec.ports ?? []).map((port) => ({
    name: port.name,
    number: port.number,
    targetPort: port.targetPort ?? port.number,
    protocol: entryProtocols[port.protocol ?? protocolFromName(port.name)],
  }));
  const selected =
    spec.workloadSelector === undefined
      ? []
      : instances.selected(namespace, spec.workloadSelector.labels);
  const resolution = resolutions[spec.resolution ?? "NONE"];
  const endpoints =
    spec.workloadSelector === undefined
      ? entryEndpoints(entry, host, ports)
      : readyEndpoints(selected, ports);
  return {
    hostname: host,
    namespace,
    name: host,
    addresses: spec.addresses ?? [],
    isAllocated: false,
    ports,
    resolution,
    isExternal: spec.location !== "MESH_INTERNAL",
    exportTo: spec.exportTo ?? ["*"],
    subjectAltNames: spec.subjectAltNames ?? [],
    endpoints,
    instances: selected,
    accounts: accountsOf([...selected, ...endpoints]),
    dnsEndpoints: resolution.startsWith("dns") ? endpoints : [],
    entry,
  };
}

function accountsOf(
  holders: readonly { readonly namespace: string; readonly serviceAccount?: string | undefined }[],
): ServiceAccount[] {
  const accounts = new Map<string, ServiceAccount>();
  for (const { namespace, serviceAccount } of holders) {
    if (serviceAccount === undefined) continue;
    accounts.set(`${namespace}/${serviceAccount}`, { namespace, serviceAccount });
  }
  return [...accounts]
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([, account]) => account);
}

const resolutions: Readonly<Record<"NONE" | "STATIC" | "DNS" | "DNS_ROUND_ROBIN", Resolution>> = {
  NONE: "none",
  STATIC: "static",
  DNS: "dns",
  DNS_ROUND_ROBIN: "dns-round-robin",
};

const entryProtocols: { readonly [Protocol in EntryProtocol | "AUTO"]: PortProtocol } = {
  HTTP: "http",
  HTTPS: "https",
  GRPC: "grpc",
  "GRPC-WEB": "http",
  HTTP2: "http2",
  MONGO: "tcp",
  REDIS: "tcp",
  MYSQL: "tcp",
  TCP: "tcp",
  TLS: "tls",
  UDP: "udp",
  AUTO: "auto",
};

function protocolFromName(name: string): EntryProtocol | "AUTO" {
  const prefix = name.startsWith("grpc-web")
    ? "GRPC-WEB"
    : (name.split("-")[0] ?? "").toUpperCase();
  return isEntryProtocol(prefix) ? prefix : "AUTO";
}

function isEntryProtocol(text: string): text is EntryProtocol {
  return Object.hasOwn(entryProtocols, text) && text !== "AUTO";
}

function entryEndpoints(
  entry: ServiceEntry,
  host: string,
  ports: readonly MeshPort[],
): MeshEndpoint[] {
  const { spec } = entry;
  const isDns = spec.resolution === "DNS" || spec.resolution === "DNS_ROUND_ROBIN";
  const written: readonly ServiceEntryEndpoint[] =
    spec.endpoints ?? (isDns ? [{ address: host }] : []);
  return written.map((endpoint) => {
    const targets = new Map<number, { readonly address: string; readonly port: number }>();
    for (const port of ports) {
      const number = endpoint.ports?.[port.name] ?? port.targetPort;
      const pipe = pipePath(endpoint.address);
      targets.set(
        port.number,
        pipe === undefined
          ? { address: endpoint.address ?? host, port: number }
          : { address: pipe, port: 0 },
      );
    }
    return {
      targets,
      labels: endpoint.labels ?? {},
      locality: endpoint.locality,
      weight: endpoint.weight ?? 1,
      namespace: entry.namespace,
      serviceAccount: endpoint.serviceAccount,
      instance: undefined,
    };
  });
}
