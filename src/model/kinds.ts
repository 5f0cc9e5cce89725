/** The table of kinds: which are honoured, by which schema, and what the others would do. */
import { destinationRuleSpec } from "./destination-rule.ts";
import { gatewaySpec } from "./gateway.ts";
import type { Type } from "./schema.ts";
import { authorizationPolicySpec, peerAuthenticationSpec } from "./security.ts";
import { serviceEntrySpec } from "./service-entry.ts";
import { virtualServiceSpec } from "./virtual-service.ts";
import type { ConfigKind, ConfigResource } from "./config-resource.ts";

const networking: readonly string[] = [
  "networking.istio.io/v1",
  "networking.istio.io/v1beta1",
  "networking.istio.io/v1alpha3",
];
const security: readonly string[] = ["security.istio.io/v1", "security.istio.io/v1beta1"];

type SpecOf<Kind extends ConfigKind> = Extract<ConfigResource, { readonly kind: Kind }>["spec"];

export type HonouredKinds = {
  readonly [Kind in ConfigKind]: {
    readonly apiVersions: readonly string[];
    readonly spec: Type<SpecOf<Kind>>;
  };
};

export const honouredKinds: HonouredKinds = {
  Gateway: { apiVersions: networking, spec: gatewaySpec },
  VirtualService: { apiVersions: networking, spec: virtualServiceSpec },
  DestinationRule: { apiVersions: networking, spec: destinationRuleSpec },
  ServiceEntry: { apiVersions: networking, spec: serviceEntrySpec },
  PeerAuthentication: { apiVersions: security, spec: peerAuthenticationSpec },
  AuthorizationPolicy: { apiVersions: security, spec: authorizationPolicySpec },
};

export function isHonouredKind(kind: string): kind is ConfigKind {
  return Object.hasOwn(honouredKinds, kind);
}

/** Kinds that are recognised and not honoured yet, by API group, with what they would do. */
const laterKinds: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "networking.istio.io": {
    Sidecar: "limits what a proxy sees and listens on",
    WorkloadEntry: "adds an endpoint outside the mesh's own workloads",
    WorkloadGroup: "describes workloads that register themselves",
    EnvoyFilter: "patches generated proxy configuration",
    ProxyConfig: "configures a workload's proxy",
  },
  "security.istio.io": {
    RequestAuthentication: "checks JSON Web Tokens; the workloads it selects deny every request",
  },
  "telemetry.istio.io": { Telemetry: "changes metrics, traces and access logs" },
  "extensions.istio.io": {
    WasmPlugin: "runs WebAssembly in proxies",
    TrafficExtension: "runs WebAssembly or Lua in proxies",
  },
  "gateway.networking.k8s.io": {
    GatewayClass: "names a gateway implementation",
    Gateway: "opens a gateway",
    HTTPRoute: "routes HTTP requests",
    GRPCRoute: "routes gRPC requests",
    TCPRoute: "routes TCP connections",
    TLSRoute: "routes TLS connections",
    ReferenceGrant: "permits references between namespaces",
    BackendTLSPolicy: "sets TLS to a backend",
    ListenerSet: "adds listeners to a gateway",
  },
};

/** What the kind would do, when it is recognised and not honoured yet. */
export function laterKindEffect(apiVersion: string, kind: string): string | undefined {
  const kinds = laterKinds[apiVersion.split("/")[0] ?? ""];
  return kinds !== undefined && Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
}

/** Kubernetes' own API groups, whose resources have no meaning without Kubernetes. */
export function isKubernetesGroup(apiVersion: string): boolean {
  if (!apiVersion.includes("/")) return /^v[0-9]/.test(apiVersion);
  return /^(?:apps|batch|policy|autoscaling|[a-z.]+\.k8s\.io)\//.test(apiVersion);
}

export function allKindNames(): string[] {
  return [
    ...Object.keys(honouredKinds),
    ...Object.values(laterKinds).flatMap((kinds) => Object.keys(kinds)),
  ];
}
