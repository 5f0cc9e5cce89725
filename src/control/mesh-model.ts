/**
 * The mesh as translation sees it: one immutable model made from what is configured and what runs,
 * with names resolved, defaults filled in and everything in a fixed order, so that equal inputs give
 * equal resources.
 */
import type {
  BrokenResource,
  ConfigKind,
  ResourceOfKind,
  ServiceEntry,
} from "../model/config-resource.ts";
import { configKinds } from "../model/kinds.ts";
import type { MeshSettings } from "../model/mesh-config.ts";
import type { PortProtocol, WorkloadInstance } from "../model/workload.ts";

export interface MeshModel extends MeshShape {
  readonly instances: readonly WorkloadInstance[];
  /** By hostname. */
  readonly services: ReadonlyMap<string, MeshService>;
}

/** The model without what changes by the second: which instances run and are ready. */
export interface MeshShape {
  readonly settings: MeshSettings;
  /** What `svc` names end in. */
  readonly domain: string;
  /** By hostname. */
  readonly services: ReadonlyMap<string, ServiceShape>;
  readonly resources: MeshResources;
  /** Security resources that could not be honoured and have no earlier good version: they deny. */
  readonly denying: readonly BrokenResource[];
}

/** Resources of every kind that acts, each in order of namespace and name. */
export type MeshResources = {
  readonly [Kind in ConfigKind]: readonly ResourceOfKind<Kind>[];
};

/** Asks for the resources of each kind. */
export function resourcesOfEach(
  find: <Kind extends ConfigKind>(kind: Kind) => readonly ResourceOfKind<Kind>[],
): MeshResources {
  const entries = configKinds.map((kind) => [kind, find(kind)] as const);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every kind has what was found of it
  return Object.fromEntries(entries) as unknown as MeshResources;
}

export interface MeshService extends ServiceShape {
  readonly endpoints: readonly MeshEndpoint[];
  /** Workloads it selects, ready or not. */
  readonly instances: readonly WorkloadInstance[];
}

export interface ServiceShape {
  readonly hostname: string;
  readonly namespace: string;
  /** For metrics: the name without namespace and domain; a ServiceEntry's host whole. */
  readonly name: string;
  /** Virtual addresses; a CIDR range only from a ServiceEntry. */
  readonly addresses: readonly string[];
  /** Its addresses are those that Heddle gave a ServiceEntry which names none. */
  readonly isAllocated: boolean;
  readonly ports: readonly MeshPort[];
  readonly resolution: Resolution;
  readonly isExternal: boolean;
  readonly exportTo: readonly string[];
  /** Identities its endpoints may have; empty means those of its workloads' service accounts. */
  readonly subjectAltNames: readonly string[];
  /** Whom its endpoints run as, distinct and in order, ready or not. */
  readonly accounts: readonly ServiceAccount[];
  /** Of a service found by DNS: its endpoints are names, and part of its cluster. */
  readonly dnsEndpoints: readonly MeshEndpoint[];
  readonly entry: ServiceEntry | undefined;
}

export interface ServiceAccount {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** `static`: endpoints are addresses; `dns…`: names; `none`: wherever the caller was going. */
export type Resolution = "static" | "dns" | "dns-round-robin" | "none";

export interface MeshPort {
  readonly name: string;
  readonly number: number;
  readonly targetPort: number;
  readonly protocol: PortProtocol;
}

export interface MeshEndpoint {
  /**
   * Where each port of the service is reached, by the service's port number: an address or a name, or
   * the path of a Unix socket (`/run/app.sock`, `@name`), which has port 0.
   */
  readonly targets: ReadonlyMap<number, { readonly address: string; readonly port: number }>;
  readonly labels: Readonly<Record<string, string>>;
  readonly locality: string | undefined;
  readonly weight: number;
  readonly namespace: string;
  readonly serviceAccount: string | undefined;
  /** Present when it is a workload of this mesh, and so has a sidecar that speaks mutual TLS. */
  readonly instance: WorkloadInstance | undefined;
}
