/**
 * The table of kinds: one entry for each that Heddle knows, by the name that the mesh calls it. An entry
 * stands in a file of its own in `kinds/`, which says whether the kind acts; here a kind needs a line.
 */
import type { ConfigKind } from "./config-resource.ts";
import { authorizationPolicy } from "./kinds/authorization-policy.ts";
import { backendTlsPolicy } from "./kinds/backend-tls-policy.ts";
import { destinationRule } from "./kinds/destination-rule.ts";
import { envoyFilter } from "./kinds/envoy-filter.ts";
import { gatewayClass } from "./kinds/gateway-class.ts";
import { gateway } from "./kinds/gateway.ts";
import { grpcRoute } from "./kinds/grpc-route.ts";
import { httpRoute } from "./kinds/http-route.ts";
import { istioOperator } from "./kinds/istio-operator.ts";
import type { AnyHonouredKind, HonouredKind, Kind } from "./kinds/kind.ts";
import { kubernetesGateway } from "./kinds/kubernetes-gateway.ts";
import { listenerSet } from "./kinds/listener-set.ts";
import { peerAuthentication } from "./kinds/peer-authentication.ts";
import { proxyConfig } from "./kinds/proxy-config.ts";
import { referenceGrant } from "./kinds/reference-grant.ts";
import { requestAuthentication } from "./kinds/request-authentication.ts";
import { serviceEntry } from "./kinds/service-entry.ts";
import { sidecar } from "./kinds/sidecar.ts";
import { tcpRoute } from "./kinds/tcp-route.ts";
import { telemetry } from "./kinds/telemetry.ts";
import { tlsRoute } from "./kinds/tls-route.ts";
import { trafficExtension } from "./kinds/traffic-extension.ts";
import { virtualService } from "./kinds/virtual-service.ts";
import { wasmPlugin } from "./kinds/wasm-plugin.ts";
import { workloadEntry } from "./kinds/workload-entry.ts";
import { workloadGroup } from "./kinds/workload-group.ts";

export type { AnyHonouredKind, HonouredKind, Kind } from "./kinds/kind.ts";

export type KindTable = { readonly [Name in ConfigKind]: HonouredKind<Name> } & Readonly<
  Record<string, Kind>
>;

export const kinds: KindTable = {
  Gateway: gateway,
  VirtualService: virtualService,
  DestinationRule: destinationRule,
  ServiceEntry: serviceEntry,
  PeerAuthentication: peerAuthentication,
  AuthorizationPolicy: authorizationPolicy,
  Sidecar: sidecar,
  WorkloadEntry: workloadEntry,
  WorkloadGroup: workloadGroup,
  EnvoyFilter: envoyFilter,
  ProxyConfig: proxyConfig,
  IstioOperator: istioOperator,
  RequestAuthentication: requestAuthentication,
  Telemetry: telemetry,
  WasmPlugin: wasmPlugin,
  TrafficExtension: trafficExtension,
  GatewayClass: gatewayClass,
  "Gateway.gateway.networking.k8s.io": kubernetesGateway,
  HTTPRoute: httpRoute,
  GRPCRoute: grpcRoute,
  TCPRoute: tcpRoute,
  TLSRoute: tlsRoute,
  ReferenceGrant: referenceGrant,
  BackendTLSPolicy: backendTlsPolicy,
  ListenerSet: listenerSet,
};

const all: readonly Kind[] = Object.values(kinds);
const honoured: readonly AnyHonouredKind[] = all.filter((one) => one.state === "honoured");
const byGroupAndKind = new Map(all.map((one) => [`${one.group}/${writtenKind(one)}`, one]));

/** Names of the kinds that act, in the order of the table. */
export const configKinds: readonly ConfigKind[] = honoured.map(({ name }) => name);

export function isConfigKind(name: string): name is ConfigKind {
  return Object.hasOwn(kinds, name) && kinds[name]?.state === "honoured";
}

/** The kind of a document, by group and kind; in which versions it acts is for the caller to see. */
export function kindOf(apiVersion: string, kind: string): Kind | undefined {
  return byGroupAndKind.get(`${groupOf(apiVersion)}/${kind}`);
}

/** A kind that acts in another group than a document says: what was probably meant. */
export function honouredNamesake(kind: string): AnyHonouredKind | undefined {
  return honoured.find((one) => writtenKind(one) === kind);
}

/** What a document says under `kind`: `Gateway` for both kinds of that name. */
export function writtenKind({ name }: Kind): string {
  return name.split(".", 1)[0] ?? name;
}

/** The kind, if it acts in the version that a document names. */
export function servedIn(kind: Kind | undefined, apiVersion: string): AnyHonouredKind | undefined {
  if (kind?.state !== "honoured") return undefined;
  return kind.versions.some((one) => apiVersionOf(kind, one) === apiVersion) ? kind : undefined;
}

/** `networking.istio.io/v1`. */
export function apiVersionOf({ group }: Kind, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

function groupOf(apiVersion: string): string {
  return apiVersion.includes("/") ? (apiVersion.split("/", 1)[0] ?? "") : "";
}

/** Kinds that must fail closed, by name. */
export function isSecurityKind(name: string): boolean {
  return Object.hasOwn(kinds, name) && kinds[name]?.isSecurity === true;
}

/** Kubernetes' own API groups, whose resources have no meaning without Kubernetes. */
export function isKubernetesGroup(apiVersion: string): boolean {
  if (!apiVersion.includes("/")) return /^v[0-9]/.test(apiVersion);
  return /^(?:apps|batch|policy|autoscaling|[a-z.]+\.k8s\.io)\//.test(apiVersion);
}

export function allKindNames(): string[] {
  return all.map(({ name }) => name);
}

/**
 * The name of the kind that a user means, in any of kubectl's spellings: `vs`, `virtualservice`,
 * `VirtualServices`, `gateways.gateway.networking.k8s.io`.
 */
export function kindAskedFor(text: string): string | undefined {
  const asked = text.toLowerCase();
  return all.find((one) => spellingsOf(one).includes(asked))?.name;
}

function spellingsOf(kind: Kind): readonly string[] {
  const one = writtenKind(kind).toLowerCase();
  const names = [one, pluralOf(one)];
  const isShared = kind.name.includes(".");
  return [
    ...(isShared ? [] : names),
    ...names.map((name) => `${name}.${kind.group}`),
    ...(kind.shortNames ?? []),
  ];
}

function pluralOf(name: string): string {
  if (/[^aeiou]y$/.test(name)) return `${name.slice(0, -1)}ies`;
  return /(?:s|x|ch|sh)$/.test(name) ? `${name}es` : `${name}s`;
}
