import type {
  ServiceDeclaration,
  WorkloadInstance,
  WorkloadSnapshot,
} from "../../model/workload.ts";
import type { ServiceSummary, WorkloadSummary } from "../api.ts";
import {
  type Flow,
  healthOf,
  healthOfInstances,
  mtlsOf,
  trafficOf,
  versionOf,
  worstHealth,
} from "./flow.ts";

export function serviceSummaries(
  workloads: WorkloadSnapshot | undefined,
  flows: readonly Flow[],
  windowMs: number,
): readonly ServiceSummary[] {
  return (workloads?.services ?? [])
    .map((service) => summaryOf(service, workloads?.instances ?? [], { flows, windowMs }))
    .toSorted((a, b) => compare(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`));
}

export function flowsTo(
  flows: readonly Flow[],
  { name, namespace }: Pick<ServiceSummary, "name" | "namespace">,
): readonly Flow[] {
  return flows.filter(({ service }) => service?.name === name && service.namespace === namespace);
}

/** Instances that a service selects. */
export function instancesOfService(
  { selector, namespace }: ServiceDeclaration,
  instances: readonly WorkloadInstance[],
): readonly WorkloadInstance[] {
  if (Object.keys(selector).length === 0) return [];
  return instances.filter(
    (instance) =>
      instance.namespace === namespace &&
      Object.entries(selector).every(([label, value]) => instance.labels[label] === value),
  );
}

export function workloadSummary(instance: WorkloadInstance): WorkloadSummary {
  return {
    instance: instance.name,
    workload: instance.workload,
    namespace: instance.namespace,
    serviceAccount: instance.serviceAccount,
    role: instance.role,
    version: versionOf(instance.labels["version"]),
    addresses: instance.addresses,
    state: instance.state,
    detail: instance.detail,
    restarts: instance.restarts,
    dataPlane: instance.dataPlane,
    capture: instance.capture,
    sidecarPorts: instance.sidecarPorts,
  };
}

function summaryOf(
  service: ServiceDeclaration,
  all: readonly WorkloadInstance[],
  { flows, windowMs }: { readonly flows: readonly Flow[]; readonly windowMs: number },
): ServiceSummary {
  const own = flowsTo(flows, service);
  const traffic = trafficOf(own);
  const instances = instancesOfService(service, all);
  const ready = instances.filter(({ state }) => state === "ready").length;
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: `${service.name}.${service.namespace}.svc.cluster.local`,
    addresses: service.addresses,
    ports: service.ports.map(({ name, port, protocol }) => ({ name, port, protocol })),
    instances: { total: instances.length, ready },
    traffic,
    health: worstHealth([healthOf(traffic, windowMs), healthOfInstances(ready, instances.length)]),
    mtls: mtlsOf(own),
  };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
