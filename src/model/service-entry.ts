/** ServiceEntry: a service that no workload of the mesh declares, inside or outside of it. */
import type { LabelSelector } from "./matching.ts";
import { labels } from "./matching.ts";
import {
  cidr,
  hostname,
  integer,
  isAddress,
  nonEmptyText,
  oneOf,
  portNumber,
  text,
} from "./scalar-types.ts";
import type { Type } from "./schema.ts";
import { list, object, record } from "./schema.ts";

export interface ServiceEntrySpec {
  readonly hosts: readonly string[];
  readonly addresses?: readonly string[];
  readonly ports?: readonly ServiceEntryPort[];
  readonly location?: "MESH_EXTERNAL" | "MESH_INTERNAL";
  readonly resolution?: "NONE" | "STATIC" | "DNS" | "DNS_ROUND_ROBIN";
  readonly endpoints?: readonly ServiceEntryEndpoint[];
  readonly workloadSelector?: { readonly labels?: LabelSelector };
  readonly exportTo?: readonly string[];
  readonly subjectAltNames?: readonly string[];
}

export interface ServiceEntryPort {
  readonly number: number;
  readonly name: string;
  readonly protocol?: EntryProtocol;
  readonly targetPort?: number;
}

export type EntryProtocol =
  | "HTTP"
  | "HTTPS"
  | "GRPC"
  | "GRPC-WEB"
  | "HTTP2"
  | "MONGO"
  | "REDIS"
  | "MYSQL"
  | "TCP"
  | "TLS"
  | "UDP";

export interface ServiceEntryEndpoint {
  readonly address?: string;
  readonly ports?: Readonly<Record<string, number>>;
  readonly labels?: LabelSelector;
  readonly locality?: string;
  readonly weight?: number;
  readonly serviceAccount?: string;
}

export const entryProtocol: Type<EntryProtocol> = oneOf(
  "HTTP",
  "HTTPS",
  "GRPC",
  "GRPC-WEB",
  "HTTP2",
  "MONGO",
  "REDIS",
  "MYSQL",
  "TCP",
  "TLS",
  "UDP",
);

const port: Type<ServiceEntryPort> = object<ServiceEntryPort>(
  { number: portNumber, name: nonEmptyText, protocol: entryProtocol, targetPort: portNumber },
  { required: ["number", "name"] },
);

const endpoint: Type<ServiceEntryEndpoint> = object<ServiceEntryEndpoint>(
  {
    address: nonEmptyText,
    ports: record(portNumber),
    labels,
    locality: text,
    weight: integer({ min: 0 }),
    serviceAccount: text,
  },
  { unhonoured: { network: { effect: "places the endpoint behind a gateway", rest: "stops" } } },
);

/** Of `unix:///run/app.sock`, or `unix://@name`: what stands behind. Undefined where it is no Unix socket. */
export function pipePath(address: string | undefined): string | undefined {
  return address?.startsWith("unix://") === true ? address.slice("unix://".length) : undefined;
}

/** What the kernel's structure holds. */
const pipeBytesMax = 107;

/** Why there can be no such endpoint, as Istio says it; undefined where there can. */
function pipeProblem(
  path: string,
  endpoint: ServiceEntryEndpoint,
  entry: { readonly resolution: string; readonly ports: readonly ServiceEntryPort[] },
): string | undefined {
  const at = `unix://${path}`;
  if (!/^(?:\/.*[^/]$|@.)/s.test(path) || path.includes("\0")) {
    return `${at} is neither an absolute path nor an abstract name (@name)`;
  }
  if (new TextEncoder().encode(path).length > pipeBytesMax) {
    return `${at} has more than ${pipeBytesMax} bytes`;
  }
  if (entry.resolution !== "STATIC") return `${at} needs resolution STATIC`;
  if (endpoint.ports !== undefined) return `${at} has no ports`;
  if (entry.ports.length !== 1) return `${at} can serve exactly one port`;
  if (entry.ports[0]?.protocol === "UDP") return `${at} takes no UDP`;
  return undefined;
}

export const serviceEntrySpec: Type<ServiceEntrySpec> = object<ServiceEntrySpec>(
  {
    hosts: list(hostname(), { min: 1 }),
    addresses: list(cidr),
    ports: list(port),
    location: oneOf("MESH_EXTERNAL", "MESH_INTERNAL"),
    resolution: oneOf("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"),
    endpoints: list(endpoint),
    workloadSelector: object<{ readonly labels?: LabelSelector }>({ labels }),
    exportTo: list(nonEmptyText),
    subjectAltNames: list(nonEmptyText),
  },
  {
    required: ["hosts"],
    oneOf: [["endpoints", "workloadSelector"]],
    check(spec, node, place) {
      const complain = (field: string, code: string, message: string): void => {
        const at = place.field(field);
        at.complain(place.findings.positions.get(at.path) ?? node.position, { code, message });
      };
      const resolution = spec.resolution ?? "NONE";
      const isDns = resolution === "DNS" || resolution === "DNS_ROUND_ROBIN";
      for (const host of spec.hosts ?? []) {
        if (isDns && host.startsWith("*") && (spec.endpoints ?? []).length === 0) {
          const message = `${host} cannot be resolved by DNS; give endpoints or resolution NONE`;
          complain("hosts", "serviceentry.wildcard-dns", message);
        }
      }
      if (resolution === "NONE" && (spec.endpoints ?? []).length > 0) {
        complain("endpoints", "config.conflict", "resolution NONE has no endpoints");
      }
      for (const one of spec.endpoints ?? []) {
        const pipe = pipePath(one.address);
        if (pipe !== undefined) {
          const message = pipeProblem(pipe, one, { resolution, ports: spec.ports ?? [] });
          if (message !== undefined) complain("endpoints", "serviceentry.unix-socket", message);
          continue;
        }
        // Proxies would take it for one, and refuse the whole cluster.
        if (isDns && /^[/@]/.test(one.address ?? "")) {
          const message = `${one.address} is no name; a Unix socket is written unix://${one.address}`;
          complain("endpoints", "serviceentry.unix-socket", message);
          continue;
        }
        if (resolution !== "STATIC" || one.address === undefined || isAddress(one.address))
          continue;
        const message = `${one.address} is a name; with resolution STATIC an address is needed`;
        complain("endpoints", "serviceentry.static-name", message);
      }
      const names = (spec.ports ?? []).map((one) => one.name);
      if (new Set(names).size < names.length) {
        complain("ports", "config.duplicate", "two ports have the same name");
      }
    },
  },
);
