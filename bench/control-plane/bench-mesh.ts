/** A made-up mesh: every service has one workload, a VirtualService, a DestinationRule and a policy. */
import type { MeshInput } from "../../src/control/mesh.ts";
import type { ConfigResource } from "../../src/model/config-resource.ts";
import { parseDocuments } from "../../src/model/documents.ts";
import { defaultMeshSettings } from "../../src/model/mesh-config.ts";
import type { WorkloadInstance, WorkloadSnapshot } from "../../src/model/workload.ts";

export interface BenchMesh extends MeshInput {
  withReadiness(index: number, isReady: boolean): BenchMesh;
  withTimeout(index: number, seconds: number): BenchMesh;
  withConnections(index: number, maximum: number): BenchMesh;
  withAllowedPath(index: number, path: number): BenchMesh;
  withConnectTimeout(seconds: number): BenchMesh;
}

export function benchMesh(services: number): BenchMesh {
  const indices = Array.from({ length: services }, (_, index) => index);
  return completed({
    resources: indices.flatMap((index) => [
      one(virtualService(index, 1)),
      one(destinationRule(index, 1)),
      one(authorizationPolicy(index, 1)),
    ]),
    broken: [],
    workloads: {
      revision: 1,
      services: indices.map((index) => ({
        name: `svc-${index}`,
        namespace: "default",
        addresses: [address(19, index)],
        ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "http" }],
        selector: { app: `svc-${index}` },
      })),
      instances: indices.map(instance),
    },
    settings: defaultMeshSettings,
  });
}

function completed(input: MeshInput): BenchMesh {
  const replaced = (yaml: string): BenchMesh => {
    const next = one(yaml);
    const resources = input.resources.map((resource) =>
      resource.kind === next.kind && resource.name === next.name ? next : resource,
    );
    return completed({ ...input, resources });
  };
  return {
    ...input,
    withReadiness(index, isReady) {
      // As it comes from another process: every object is new.
      const workloads: WorkloadSnapshot = structuredClone(input.workloads);
      const instances = workloads.instances.map((each, at) =>
        at === index
          ? { ...each, state: isReady ? ("ready" as const) : ("warming" as const) }
          : each,
      );
      return completed({ ...input, workloads: { ...workloads, instances } });
    },
    withTimeout: (index, seconds) => replaced(virtualService(index, seconds)),
    withConnections: (index, maximum) => replaced(destinationRule(index, maximum)),
    withAllowedPath: (index, path) => replaced(authorizationPolicy(index, path)),
    withConnectTimeout: (seconds) =>
      completed({ ...input, settings: { ...input.settings, connectTimeoutMs: seconds * 1000 } }),
  };
}

function one(yaml: string): ConfigResource {
  const { resources, problems } = parseDocuments(yaml, "bench.yaml");
  const [resource] = resources;
  if (resource === undefined) throw new Error(problems.map(({ message }) => message).join("; "));
  return resource;
}

function address(net: number, index: number): string {
  return `198.${net}.${Math.floor(index / 250)}.${(index % 250) + 2}`;
}

function instance(index: number): WorkloadInstance {
  const name = `svc-${index}`;
  return {
    name: `${name}-0`,
    workload: name,
    namespace: "default",
    serviceAccount: name,
    labels: { app: name, version: "v1" },
    role: "workload",
    addresses: [address(18, index)],
    ports: [
      {
        port: 8080,
        protocol: "http",
        appAddress: "127.0.0.1",
        endpointAddress: address(18, index),
        endpointPort: 8080,
      },
    ],
    capture: "transparent",
    localDestinations: [],
    state: "ready",
    tokenSha256: "",
    dataPlane: "heddle",
    adminSocket: "",
    metricsUrl: "",
    restarts: 0,
    sidecarPorts: { outbound: 15_001, inbound: 15_006 },
  };
}

function virtualService(index: number, seconds: number): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: svc-${index}, namespace: default }
spec:
  hosts: [svc-${index}]
  http:
    - match: [{ headers: { x-version: { exact: v1 } } }]
      route: [{ destination: { host: svc-${index}, subset: v1 } }]
    - timeout: ${seconds}s
      retries: { attempts: 2, perTryTimeout: 1s, retryOn: "5xx" }
      route: [{ destination: { host: svc-${index} } }]
`;
}

function destinationRule(index: number, maximum: number): string {
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: svc-${index}, namespace: default }
spec:
  host: svc-${index}
  trafficPolicy:
    connectionPool: { tcp: { maxConnections: ${maximum} } }
    outlierDetection: { consecutive5xxErrors: 5 }
  subsets: [{ name: v1, labels: { version: v1 } }]
`;
}

function authorizationPolicy(index: number, path: number): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: svc-${index}, namespace: default }
spec:
  selector: { matchLabels: { app: svc-${index} } }
  rules: [{ to: [{ operation: { paths: ["/${path}/*"] } }] }]
`;
}
