/**
 * Ports whose traffic contradicts what is declared of them: with the wrong declaration requests are not
 * routed, counted or authorized one by one, or connections are refused as no HTTP. Says where it is written.
 */
import type { Problem, SourcePosition } from "../../base/problem.ts";
import { positionOf } from "../../model/config-resource.ts";
import type { PortProtocol, WorkloadSnapshot } from "../../model/workload.ts";
import type { SeenProtocol } from "../control-view.ts";
import type { MeshModel, MeshPort, MeshService } from "../mesh-model.ts";

export function checkSeenProtocols(
  model: MeshModel,
  workloads: WorkloadSnapshot,
  seen: readonly SeenProtocol[],
): Problem[] {
  const byPort = new Map<string, Problem>();
  for (const one of seen) {
    for (const { service, port } of portsAt(model, one.destination)) {
      const remedy = contradiction(port.protocol, one.seen);
      const key = `${service.hostname} ${port.number}`;
      if (remedy === undefined || byPort.has(key)) continue;
      byPort.set(key, problemOf(workloads, { service, port }, { seen: one.seen, ...remedy }));
    }
  }
  return [...byPort.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
}

interface PortOfService {
  readonly service: MeshService;
  readonly port: MeshPort;
}

/** By the service's own address, a workload's, or a local port that stands for it (explicit mode). */
function portsAt(model: MeshModel, destination: string): readonly PortOfService[] {
  const colon = destination.lastIndexOf(":");
  const number = Number(destination.slice(colon + 1));
  const address = destination.slice(0, colon).replaceAll(/[[\]]/g, "");
  const local = model.instances
    .flatMap(({ localDestinations }) => localDestinations)
    .find(({ localPort }) => address === "127.0.0.1" && localPort === number);
  return [...model.services.values()].flatMap((service) => {
    const isOwn = service.addresses.includes(address);
    return service.ports
      .filter(
        (port) =>
          (isOwn && port.number === number) ||
          (local?.hostname === service.hostname && local.port === port.number) ||
          service.endpoints.some(({ targets }) => {
            const target = targets.get(port.number);
            return target?.address === address && target.port === number;
          }),
      )
      .map((port) => ({ service, port }));
  });
}

interface Remedy {
  readonly consequence: string;
  /** What to declare. */
  readonly protocol: string;
}

/** Undefined where the two go together, or nothing was declared. */
function contradiction(declared: PortProtocol, seen: string): Remedy | undefined {
  const isHttpSeen = seen.startsWith("http/") || seen === "h2c";
  switch (declared) {
    case "tcp":
    case "tls":
    case "https":
      if (!isHttpSeen) return undefined;
      return {
        consequence: "its requests are neither routed nor counted nor authorized one by one",
        protocol: seen === "h2c" ? "http2" : "http",
      };
    case "http":
    case "http2":
    case "grpc":
      if (isHttpSeen) return undefined;
      return { consequence: "such connections are refused", protocol: seen };
    case "udp":
    case "auto":
      return undefined;
  }
}

const names: Readonly<Record<string, string>> = {
  "http/1.0": "HTTP/1.0",
  "http/1.1": "HTTP/1.1",
  h2c: "HTTP/2",
  tls: "TLS",
};

function problemOf(
  workloads: WorkloadSnapshot,
  { service, port }: PortOfService,
  { seen, consequence, protocol }: Remedy & { readonly seen: string },
): Problem {
  const { entry } = service;
  const index = entry?.spec.ports?.findIndex(({ number }) => number === port.number) ?? -1;
  const path = entry === undefined ? "protocol" : `spec.ports[${index}].protocol`;
  const spoken = names[seen] ?? "something other than HTTP";
  const source =
    entry === undefined ? declaredAt(workloads, service, port) : positionOf(entry, path);
  return {
    code: "service.protocol-contradicted",
    severity: "warning",
    path,
    message: `${service.hostname}:${port.number} is declared ${port.protocol}, but connections to it speak ${spoken}: ${consequence}`,
    hint: `write protocol: ${entry === undefined ? protocol : protocol.toUpperCase()}`,
    ...(source === undefined ? {} : { source }),
    ...(entry === undefined
      ? {}
      : { resource: { kind: entry.kind, namespace: entry.namespace, name: entry.name } }),
  };
}

function declaredAt(
  { services }: WorkloadSnapshot,
  { namespace, name }: MeshService,
  { number }: MeshPort,
): SourcePosition | undefined {
  const declaration = services.find((one) => one.namespace === namespace && one.name === name);
  return declaration?.ports.find(({ port }) => port === number)?.source;
}
