/** A control plane that shows every state the console can meet and can be changed by a test. */
import type { Problem } from "../../../src/base/problem.ts";
import type {
  ConfigResource,
  ControlChange,
  ControlPlane,
  ProxyRefusal,
  ProxyStatus,
  ProxyTypeStatus,
} from "../../../src/control/control-view.ts";
import type { WorkloadSnapshot } from "../../../src/model/workload.ts";

export interface FakeControlPlane extends ControlPlane {
  change(kind: ControlChange, state?: Partial<FakeState>): void;
  readonly calls: readonly string[];
}

export interface FakeState {
  readonly workloads: WorkloadSnapshot | undefined;
  readonly problems: readonly Problem[];
  readonly resources: readonly ConfigResource[];
  readonly proxies: readonly ProxyStatus[];
}

export function fakeControlPlane(initial: FakeState): FakeControlPlane {
  let state = initial;
  const listeners = new Set<(change: ControlChange) => void>();
  const calls: string[] = [];
  return {
    calls,
    change(kind, next = {}) {
      state = { ...state, ...next };
      for (const listener of listeners) listener(kind);
    },
    problems: () => state.problems,
    resources: ({ kind, namespace, name } = {}) =>
      state.resources.filter(
        ({ ref }) =>
          (kind === undefined || ref.kind.toLowerCase() === kind.toLowerCase()) &&
          (namespace === undefined || ref.namespace === namespace) &&
          (name === undefined || ref.name === name),
      ),
    proxies: () => state.proxies,
    workloads: () => state.workloads,
    apply: async (yaml, { dryRun }) => {
      calls.push(`apply ${dryRun} ${yaml}`);
      return { applied: [], problems: [], generation: 1 };
    },
    remove: async ({ kind, namespace, name }) => {
      calls.push(`remove ${kind} ${namespace}/${name}`);
      return { applied: [], problems: [], generation: 2 };
    },
    waitFor: async () => ({ acked: ["cart-0.default"], pending: [], refused: [] }),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    authority: () => ({
      trustDomain: "cluster.local",
      rootPem: "",
      rootSerial: "01",
      rootNotAfterMs: Date.UTC(2036, 0, 1),
      certificateTtlMs: 86_400_000,
      issued: 22,
      refused: 0,
    }),
    setWorkloads: () => {},
    setSeenProtocols: () => {},
    close: async () => {},
  };
}

/** One proxy per instance: most synced, one that refused, one waiting, one that left, one never seen. */
export function shopProxies(snapshot: WorkloadSnapshot, nowMs: number): readonly ProxyStatus[] {
  return snapshot.instances.map(({ name, workload, namespace, dataPlane, role, addresses }) => {
    const proxy = `${name}.${namespace}`;
    const refusals = workload === "payments" ? [refusal(proxy, nowMs)] : [];
    const connection: ProxyStatus["connection"] =
      workload === "ledger"
        ? {
            kind: "disconnected",
            sinceMs: nowMs - 95_000,
            reason: "the stream ended: connection reset",
          }
        : workload === "prices"
          ? { kind: "never" }
          : {
              kind: "connected",
              sinceMs: nowMs - 3_720_000,
              address: addresses[0] ?? "",
              protocol: "delta",
            };
    const types = workload === "prices" ? [] : typesOf(workload, nowMs);
    return {
      proxy,
      instance: name,
      workload,
      namespace,
      dataPlane,
      role,
      connection,
      types,
      refusals,
    };
  });
}

function typesOf(workload: string, nowMs: number): readonly ProxyTypeStatus[] {
  const counts = { LDS: 14, RDS: 6, CDS: 23, EDS: 17 };
  return Object.entries(counts).map(([label, resources]) => {
    const isRefused = workload === "payments" && label === "RDS";
    const isPending = workload === "inventory" && label === "EDS";
    const version = isRefused || isPending ? "42" : "41";
    return {
      typeUrl: `type.googleapis.com/${label}`,
      label,
      state: isRefused ? "refused" : isPending ? "pending" : "synced",
      resources,
      sentVersion: version,
      sentAtMs: nowMs - 12_000,
      ackedVersion: "41",
      ackedAtMs: nowMs - (isRefused ? 340_000 : 12_000),
    };
  });
}

function refusal(proxy: string, nowMs: number): ProxyRefusal {
  return {
    proxy,
    typeUrl: "type.googleapis.com/RDS",
    label: "RDS",
    resources: ["80"],
    origins: [
      {
        ref: { kind: "VirtualService", namespace: "default", name: "payments" },
        source: { file: "mesh/payments.yaml", line: 14, column: 9 },
      },
    ],
    reason:
      "Only unique values for domains are permitted. Duplicate entry of domain payments in route 80",
    atMs: nowMs - 11_000,
  };
}

export const shopProblems: readonly Problem[] = [
  {
    code: "virtualservice.weights",
    severity: "error",
    path: "spec.http[0].route",
    message: "weights add up to 90, not 100",
    hint: "leave weights out to split evenly",
    source: { file: "mesh/catalog.yaml", line: 12, column: 5 },
    resource: { kind: "VirtualService", namespace: "default", name: "catalog" },
  },
  {
    code: "destinationrule.host-not-found",
    severity: "warning",
    path: "spec.host",
    message: "no service is called recommendations.default.svc.cluster.local",
    hint: "declare it in heddle.yaml, or with a ServiceEntry",
    source: { file: "mesh/recommendations.yaml", line: 6, column: 9 },
    resource: { kind: "DestinationRule", namespace: "default", name: "recommendations" },
  },
];

export const shopResources: readonly ConfigResource[] = [
  resource("VirtualService", "catalog", 1, [0]),
  resource("DestinationRule", "catalog", 21, []),
  resource("DestinationRule", "recommendations", 1, [1]),
  resource("PeerAuthentication", "default", 1, []),
  resource("AuthorizationPolicy", "payments", 1, []),
  resource("Gateway", "storefront", 1, []),
];

function resource(
  kind: string,
  name: string,
  line: number,
  problems: readonly number[],
): ConfigResource {
  const apiVersion = kind.includes("Auth") ? "security.istio.io/v1" : "networking.istio.io/v1";
  return {
    ref: { kind, namespace: "default", name },
    apiVersion,
    labels: {},
    annotations: {},
    spec: {},
    source: { file: `mesh/${name}.yaml`, line, column: 1 },
    origin: name === "payments" ? "applied" : "file",
    yaml: yamlOf(kind, name, apiVersion),
    problems: shopProblems.filter((_, index) => problems.includes(index)),
  };
}

function yamlOf(kind: string, name: string, apiVersion: string): string {
  const spec =
    kind === "VirtualService"
      ? `  hosts: [${name}]\n  http:\n  - route:\n    - destination: { host: ${name}, subset: v1 }\n      weight: 80\n    - destination: { host: ${name}, subset: v2 }\n      weight: 10\n`
      : `  host: ${name}\n`;
  return `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata:\n  name: ${name}\n  namespace: default\nspec:\n${spec}`;
}
