/**
 * From what the file says to what shall run: one entry per workload instance and gateway, and the
 * services derived from them. Pure.
 */
import type { ServiceDeclaration, ServicePort } from "../model/workload.ts";
import type { GatewaySpec, MeshFile, WorkloadSpec } from "./mesh-file.ts";

/** What the names of services end in; the trust domain of identities may be another. */
export const clusterDomain = "cluster.local";

export type InstancePlan = WorkloadPlan | GatewayPlan;

interface PlanBase {
  /** `<namespace>/<name>`: unique in the mesh. */
  readonly key: string;
  /** `cart-0`. */
  readonly name: string;
  /** Changes when the instance must be started anew. */
  readonly fingerprint: string;
}

export interface WorkloadPlan extends PlanBase {
  readonly role: "workload";
  readonly spec: WorkloadSpec;
  /** Keys of the instances that must be ready first. */
  readonly after: readonly string[];
}

export interface GatewayPlan extends PlanBase {
  readonly role: "gateway";
  readonly spec: GatewaySpec;
}

export function planInstances(file: MeshFile): readonly InstancePlan[] {
  const workloads = file.workloads.flatMap((spec) =>
    ordinals(spec.replicas).map((ordinal): WorkloadPlan => {
      const name = `${spec.name}-${ordinal}`;
      const after = file.workloads
        .filter((other) => spec.dependsOn.includes(other.name))
        .flatMap((other) =>
          ordinals(other.replicas).map((n) => keyOf(other, `${other.name}-${n}`)),
        );
      return {
        key: keyOf(spec, name),
        name,
        role: "workload",
        spec,
        after,
        fingerprint: fingerprintOf(spec),
      };
    }),
  );
  const gateways = file.gateways.map((spec): GatewayPlan => {
    const name = `${spec.name}-0`;
    return {
      key: keyOf(spec, name),
      name,
      role: "gateway",
      spec,
      fingerprint: gatewayFingerprintOf(spec),
    };
  });
  return [...gateways, ...workloads];
}

/** What a service needs besides its name; addresses come from the address book. */
export type ServicePlan = Omit<ServiceDeclaration, "addresses">;

/**
 * Workloads that name the same service in the same namespace share it; its ports are theirs, united
 * by number. Gateways are services too, under their own names.
 */
export function planServices(file: MeshFile): readonly ServicePlan[] {
  const services = new Map<string, { plan: ServicePlan; ports: Map<number, ServicePort> }>();
  for (const spec of file.workloads) {
    if (spec.service === undefined || spec.ports.length === 0) continue;
    const key = keyOf(spec, spec.service);
    let service = services.get(key);
    if (service === undefined) {
      const selector = { app: spec.labels["app"] ?? spec.service };
      const plan = { name: spec.service, namespace: spec.namespace, ports: [], selector };
      service = { plan, ports: new Map() };
      services.set(key, service);
    }
    for (const [index, port] of spec.ports.entries()) {
      if (service.ports.has(port.port)) continue;
      const source = spec.portPlaces[index];
      service.ports.set(port.port, source === undefined ? port : { ...port, source });
    }
  }
  const gateways = file.gateways.map((spec): ServicePlan => ({
    name: spec.name,
    namespace: spec.namespace,
    ports: spec.ports.map((port) => ({
      name: port.name,
      port: port.port,
      targetPort: port.port,
      protocol: port.protocol,
    })),
    selector: { app: spec.labels["app"] ?? spec.name },
  }));
  return [
    ...[...services.values()].map(({ plan, ports }) => ({ ...plan, ports: [...ports.values()] })),
    ...gateways,
  ];
}

/** `ledger` seen from `namespace` → `ledger.<namespace>.svc.<domain>`; full names stay. */
export function serviceHostname(service: string, namespace: string, domain: string): string {
  const parts = service.split(".");
  if (parts.length === 1) return `${service}.${namespace}.svc.${domain}`;
  if (parts.length === 2) return `${service}.svc.${domain}`;
  return service;
}

function keyOf(spec: { readonly namespace: string }, name: string): string {
  return `${spec.namespace}/${name}`;
}

function ordinals(replicas: number): readonly number[] {
  return Array.from({ length: replicas }, (_, ordinal) => ordinal);
}

// Where it stands in the file and how many replicas there are do not change a replica that runs.
function fingerprintOf(spec: WorkloadSpec): string {
  const { position: _, replicas: __, environmentPlaces: ___, portPlaces: ____, ...rest } = spec;
  return JSON.stringify(rest);
}

// Which port of the host leads to it is no matter of the gateway that runs.
function gatewayFingerprintOf(spec: GatewaySpec): string {
  const ports = spec.ports.map(({ name, port, protocol }) => ({ name, port, protocol }));
  return JSON.stringify({ ...spec, ports });
}
