/**
 * What a folder's heddle.yaml (or Compose file) says would run, for checks that start nothing:
 * everything is ready, and nothing has an address.
 */
import { statSync } from "node:fs";
import { basename, join } from "node:path";

import type { Problem } from "../base/problem.ts";
import type { InstancePort, WorkloadInstance, WorkloadSnapshot } from "../model/workload.ts";
import type { YamlNode } from "../model/yaml.ts";
import { type InstancePlan, planInstances, planServices } from "./plan.ts";
import { findMeshFile, readMeshFile } from "./run/mesh-source.ts";

export interface DeclaredMesh {
  readonly workloads: WorkloadSnapshot;
  readonly rootNamespace: string;
  readonly meshConfig: YamlNode | undefined;
}

/** Whether the folder says what runs. */
export function declaresMesh(directory: string): boolean {
  try {
    return statSync(directory).isDirectory() && findMeshFile(directory) !== "";
  } catch {
    return false; // not there, or no such file in it
  }
}

/** Positions name the file as `directory` does. Throws `local.no-mesh-file` where there is none. */
export function readDeclaredMesh(directory: string): {
  readonly declared: DeclaredMesh | undefined;
  readonly problems: readonly Problem[];
} {
  const path = join(directory, basename(findMeshFile(directory)));
  const { value, problems } = readMeshFile(path);
  if (value === undefined) return { declared: undefined, problems };
  const declared: DeclaredMesh = {
    workloads: {
      revision: 0,
      services: planServices(value).map((plan) => ({ ...plan, addresses: [] })),
      instances: planInstances(value).map(declaredInstance),
    },
    rootNamespace: value.rootNamespace,
    meshConfig: value.meshConfig,
  };
  return { declared, problems };
}

function declaredInstance(plan: InstancePlan): WorkloadInstance {
  const { name, namespace, serviceAccount, labels } = plan.spec;
  return {
    name: plan.name,
    workload: name,
    namespace,
    serviceAccount,
    labels,
    role: plan.role,
    addresses: [],
    ports: portsOf(plan),
    capture: plan.role === "gateway" ? "gateway" : "transparent",
    localDestinations: [],
    state: "ready",
    tokenSha256: "",
    dataPlane: "heddle",
    adminSocket: "",
    metricsUrl: "",
    restarts: 0,
    sidecarPorts: { outbound: 0, inbound: 0 },
  };
}

function portsOf(plan: InstancePlan): InstancePort[] {
  const ports =
    plan.role === "gateway"
      ? plan.spec.ports.map((port) => ({ ...port, source: port.position }))
      : plan.spec.ports.map((port) => ({ ...port, port: port.targetPort }));
  return ports.map(({ port, protocol, ...rest }) => ({
    port,
    protocol,
    appAddress: "127.0.0.1",
    endpointAddress: "",
    endpointPort: port,
    ...("source" in rest ? { source: rest.source } : {}),
  }));
}
