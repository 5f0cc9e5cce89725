import type { WorkloadInstance, WorkloadSnapshot } from "../../model/workload.ts";
import type { GraphAnswer, GraphEdge, GraphNode } from "../api.ts";
import {
  endId,
  type Flow,
  type FlowEnd,
  healthOf,
  healthOfInstances,
  mtlsOf,
  sumByKey,
  trafficOf,
  versionOf,
  worstHealth,
} from "./flow.ts";

export interface GraphInput {
  readonly flows: readonly Flow[];
  readonly workloads: WorkloadSnapshot | undefined;
  readonly atMs: number;
  readonly windowMs: number;
}

/** Who talks to whom, with everything that runs, talking or not. */
export function graphOf({ flows, workloads, atMs, windowMs }: GraphInput): GraphAnswer {
  const edges = edgesOf(flows, windowMs);
  const ends = new Map<string, FlowEnd>();
  for (const end of runningEnds(workloads)) ends.set(endId(end), end);
  for (const flow of flows) {
    for (const end of [flow.source, flow.target]) {
      const id = endId(end);
      const seen = ends.get(id);
      if (seen === undefined) ends.set(id, end);
    }
  }
  const nodes = [...ends]
    .map(([id, end]) => nodeOf(id, end, { flows, workloads, atMs, windowMs }))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  return { atMs, windowMs, nodes, edges };
}

/** Flows between the same two ends with the same protocol are one edge, whatever the service. */
export function edgesOf(flows: readonly Flow[], windowMs: number): readonly GraphEdge[] {
  const groups = Map.groupBy(
    flows,
    (flow) => `${endId(flow.source)} > ${endId(flow.target)} ${flow.protocol}`,
  );
  return [...groups]
    .map(([id, group]) => edgeOf(id, group, windowMs))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

function edgeOf(id: string, flows: readonly Flow[], windowMs: number): GraphEdge {
  const [first] = flows;
  const traffic = trafficOf(flows);
  const principals = (side: "sourcePrincipals" | "destinationPrincipals"): readonly string[] =>
    [...new Set(flows.flatMap((flow) => [...flow[side]]))].toSorted();
  return {
    id,
    source: first === undefined ? "" : endId(first.source),
    target: first === undefined ? "" : endId(first.target),
    protocol: first?.protocol ?? "http",
    traffic,
    health: healthOf(traffic, windowMs),
    mtls: mtlsOf(flows),
    sourcePrincipals: principals("sourcePrincipals"),
    destinationPrincipals: principals("destinationPrincipals"),
    codes: sumByKey(flows.map((flow) => flow.codes)),
    flags: sumByKey(flows.map((flow) => flow.flags)),
  };
}

function nodeOf(id: string, end: FlowEnd, { flows, workloads, windowMs }: GraphInput): GraphNode {
  const inbound = flows.filter((flow) => endId(flow.target) === id);
  const outbound = flows.filter((flow) => endId(flow.source) === id);
  // What only sends (a gateway, a load generator) is known by what it sends.
  const own = inbound.length > 0 ? inbound : outbound;
  const traffic = trafficOf(own);
  const instances = instancesOf(workloads, end);
  const ready = instances.filter(({ state }) => state === "ready").length;
  const health = healthOf(traffic, windowMs);
  return {
    id,
    kind: end.kind,
    name: end.name,
    namespace: end.namespace,
    service: serviceOf(workloads, instances) ?? inbound[0]?.service?.name,
    version: end.version ?? versionOf(instances[0]?.labels["version"]),
    health: worstHealth([health, healthOfInstances(ready, instances.length)]),
    traffic,
    instances: instances.length === 0 ? undefined : { total: instances.length, ready },
  };
}

function runningEnds(workloads: WorkloadSnapshot | undefined): readonly FlowEnd[] {
  return (workloads?.instances ?? []).map(({ role, workload, namespace, labels }) => ({
    kind: role,
    name: workload,
    namespace,
    version: versionOf(labels["version"]),
  }));
}

function instancesOf(
  workloads: WorkloadSnapshot | undefined,
  { kind, name, namespace }: FlowEnd,
): readonly WorkloadInstance[] {
  if (kind !== "workload" && kind !== "gateway") return [];
  return (workloads?.instances ?? []).filter(
    (instance) => instance.workload === name && instance.namespace === namespace,
  );
}

function serviceOf(
  workloads: WorkloadSnapshot | undefined,
  [instance]: readonly WorkloadInstance[],
): string | undefined {
  if (instance === undefined) return undefined;
  return workloads?.services.find(
    ({ namespace, selector }) =>
      namespace === instance.namespace &&
      Object.entries(selector).every(([label, value]) => instance.labels[label] === value),
  )?.name;
}
