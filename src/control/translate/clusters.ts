/** Outbound clusters: one per service port and subset, with mutual TLS where the other side has it. */
import { clone, create } from "@bufbuild/protobuf";

import type { ResourceRef } from "../../base/problem.ts";
import type { ClientTls, PortPolicy, Subset } from "../../model/destination-rule.ts";
import type { Cluster } from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import {
  Cluster_DiscoveryType,
  Cluster_DnsLookupFamily,
  Cluster_LbPolicy,
  ClusterSchema,
} from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import type { BindConfigSchema } from "../../wire/gen/es/envoy/config/core/v3/address_pb.ts";
import { ClusterConfigSchema as ForwardProxyClusterSchema } from "../../wire/gen/es/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster_pb.ts";
import type { DnsCacheConfigSchema } from "../../wire/gen/es/envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache_pb.ts";
import { SocketOption_SocketState } from "../../wire/gen/es/envoy/config/core/v3/socket_option_pb.ts";
import type { MeshPort, ServiceShape } from "../mesh-model.ts";
import type { EffectiveRule } from "../mesh/destination-rules.ts";
import { destinationRuleFor, policyFor } from "../mesh/destination-rules.ts";
import { carriedAs } from "../mesh/tcp-claims.ts";
import type { ClusterInit } from "./cluster-policy.ts";
import { policyFields, type Spoken, spokenTo } from "./cluster-policy.ts";
import { loadAssignment } from "./endpoints.ts";
import { clusterMetadata, namedClusterMetadata } from "./metadata.ts";
import {
  blackHoleCluster,
  outboundClusterName,
  outboundSni,
  passthroughCluster,
  tcpClusterName,
} from "./names.ts";
import type { Init } from "./proto.ts";
import { adsSource, any, duration } from "./proto.ts";
import type { ClientView } from "./proxy-view.ts";
import { type SocketFields, withProxyHeader } from "./proxy-header.ts";
import { refOf, spiffeId } from "./proxy-view.ts";
import type { TransportSocketInit } from "./tls.ts";
import { udpClusters } from "./udp.ts";
import { externalUpstreamTls, meshUpstreamTls, rawBuffer, upstreamAlpn } from "./tls.ts";

/** A cluster and what it was made from; `usesEds` names the assignment it needs. */
export interface TranslatedCluster {
  readonly cluster: Cluster;
  readonly origins: readonly ResourceRef[];
  readonly target: ClusterTarget | undefined;
}

/** What an outbound cluster leads to. */
export interface ClusterTarget {
  readonly service: ServiceShape;
  readonly port: MeshPort;
  readonly subset: Subset | undefined;
  readonly usesEds: boolean;
}

export function outboundClusters(view: ClientView): TranslatedCluster[] {
  const clusters: TranslatedCluster[] = [];
  for (const outbound of outbounds(view)) {
    const cluster = outboundCluster(view, outbound);
    clusters.push(cluster);
    if (hasTwin(view, outbound)) clusters.push(tcpTwin(view, outbound, cluster));
  }
  return [...clusters, ...udpClusters(view), passthrough(view), blackHole()];
}

/** What `outboundClusters` are called. */
export function outboundClusterNames(view: ClientView): ReadonlySet<string> {
  const names = new Set([passthroughCluster, blackHoleCluster]);
  for (const outbound of outbounds(view)) {
    const { service, port, subset } = outbound;
    const name = outboundClusterName(service.hostname, port.number, subset?.name);
    names.add(name);
    if (hasTwin(view, outbound)) names.add(tcpClusterName(name));
  }
  return names;
}

function outbounds(view: ClientView): Outbound[] {
  return view.services.flatMap((service) => {
    const rule = destinationRuleFor(view.model, service, view.proxy);
    const subsets = [undefined, ...(rule?.subsets ?? []).map((one) => one.subset)];
    return service.ports
      .filter((port) => port.protocol !== "udp")
      .flatMap((port) => subsets.map((subset) => ({ service, port, rule, subset })));
  });
}

function hasTwin(view: ClientView, { port }: Outbound): boolean {
  return carriedAs(port.protocol) === "auto";
}

interface Outbound {
  readonly service: ServiceShape;
  readonly port: MeshPort;
  readonly rule: EffectiveRule | undefined;
  readonly subset: Subset | undefined;
}

function outboundCluster(view: ClientView, outbound: Outbound): TranslatedCluster {
  const { service, port, rule, subset } = outbound;
  const policy = policyFor(rule, subset, port.number);
  const name = outboundClusterName(service.hostname, port.number, subset?.name);
  const isOriginal = service.resolution === "none" || policy.loadBalancer?.simple === "PASSTHROUGH";
  const usesEds = !isOriginal && service.resolution === "static";
  const cluster = create(ClusterSchema, {
    name,
    metadata: clusterMetadata(service),
    ...policyFields({
      policy,
      spoken: spokenAt(view, port, policy),
      isBalanced: !isOriginal,
      connectTimeoutMs: view.model.settings.connectTimeoutMs,
    }),
    ...discoveryFields(view, outbound, { name, isOriginal }),
    ...tlsFields(view, outbound, policy),
    ...bindFields(view),
  });
  const origins = [...(rule?.rules ?? []), ...(service.entry === undefined ? [] : [service.entry])];
  return {
    cluster,
    origins: origins.map(refOf),
    target: { service, port, subset, usesEds },
  };
}

/**
 * Where the protocol is detected, HTTP and other bytes must reach different chains of the peer, which
 * tells them apart by ALPN: each gets a cluster. Both count as one in statistics and share endpoints.
 */
function tcpTwin(view: ClientView, outbound: Outbound, http: TranslatedCluster): TranslatedCluster {
  const { service, port, rule, subset } = outbound;
  const { name } = http.cluster;
  const asTcp = { ...outbound, port: { ...port, protocol: "tcp" } as const };
  const tls = create(ClusterSchema, tlsFields(view, asTcp, policyFor(rule, subset, port.number)));
  const cluster = clone(ClusterSchema, http.cluster);
  cluster.name = tcpClusterName(name);
  cluster.altStatName = name;
  cluster.transportSocket = tls.transportSocket;
  cluster.transportSocketMatches = tls.transportSocketMatches;
  return { cluster, origins: http.origins, target: { service, port, subset, usesEds: false } };
}

function discoveryFields(
  view: ClientView,
  outbound: Outbound,
  { name, isOriginal }: { readonly name: string; readonly isOriginal: boolean },
): ClusterInit {
  const { service } = outbound;
  const type = (value: Cluster_DiscoveryType) => ({ case: "type", value }) as const;
  if (isOriginal) {
    return {
      clusterDiscoveryType: type(Cluster_DiscoveryType.ORIGINAL_DST),
      lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    };
  }
  if (service.resolution === "static") {
    return {
      clusterDiscoveryType: type(Cluster_DiscoveryType.EDS),
      edsClusterConfig: { serviceName: name, edsConfig: adsSource() },
    };
  }
  const isRoundRobin = service.resolution === "dns-round-robin";
  return {
    clusterDiscoveryType: type(
      isRoundRobin ? Cluster_DiscoveryType.LOGICAL_DNS : Cluster_DiscoveryType.STRICT_DNS,
    ),
    dnsLookupFamily: view.hasIpv6 ? Cluster_DnsLookupFamily.ALL : Cluster_DnsLookupFamily.V4_ONLY,
    dnsRefreshRate: duration(view.model.settings.dnsRefreshMs),
    respectDnsTtl: true,
    loadAssignment: loadAssignment(name, view.model, {
      ...outbound,
      endpoints: service.dnsEndpoints,
    }),
  };
}

function spokenAt(view: ClientView, port: MeshPort, policy: PortPolicy): Spoken {
  return spokenTo(carriedAs(port.protocol), policy, view.model.settings);
}

const externalAlpn = { http1: ["http/1.1"], http2: ["h2"], tcp: [], downstream: [] } as const;

function tlsFields(view: ClientView, outbound: Outbound, policy: PortPolicy): ClusterInit {
  const { rule, subset } = outbound;
  const { proxyProtocol = rule?.trafficPolicy?.proxyProtocol } = subset?.trafficPolicy ?? {};
  return withProxyHeader(socketFields(view, outbound, policy), proxyProtocol);
}

function socketFields(view: ClientView, outbound: Outbound, policy: PortPolicy): SocketFields {
  const { service, port } = outbound;
  const spoken = spokenAt(view, port, policy);
  const alpn = upstreamAlpn[spoken];
  const sni = outboundSni(service.hostname, port.number, outbound.subset?.name);
  const mesh = (chosenSni: string, names?: readonly string[]): TransportSocketInit =>
    meshUpstreamTls({ alpn, sni: chosenSni, identities: names ?? identitiesOf(view, service) });
  const { tls } = policy;
  if (tls === undefined) {
    if (!view.model.settings.isAutoMtlsEnabled || service.isExternal) return {};
    return {
      transportSocketMatches: [
        { name: "tlsMode-istio", match: { tlsMode: "istio" }, transportSocket: mesh(sni) },
        { name: "tlsMode-disabled", match: {}, transportSocket: rawBuffer() },
      ],
    };
  }
  switch (tls.mode) {
    case "DISABLE":
      return {};
    case "ISTIO_MUTUAL":
      return { transportSocket: mesh(tls.sni ?? sni, tls.subjectAltNames) };
    case "SIMPLE":
    case "MUTUAL":
      return {
        transportSocket: externalTls(tls, service, externalAlpn[spoken]),
      };
  }
}

function externalTls(
  tls: ClientTls,
  service: ServiceShape,
  alpn: readonly string[],
): TransportSocketInit {
  const { hostname, subjectAltNames } = service;
  return externalUpstreamTls(tls, { alpn, hostname, subjectAltNames });
}

/** Whom a connection to the service may reach: the identities of every workload behind it. */
function identitiesOf(view: ClientView, service: ServiceShape): readonly string[] {
  if (service.subjectAltNames.length > 0) return service.subjectAltNames;
  const { trustDomain } = view.model.settings;
  return service.accounts
    .map((one) => spiffeId(trustDomain, one.namespace, one.serviceAccount))
    .toSorted((left, right) => (left < right ? -1 : 1));
}

const solSocket = 1n;
const soMark = 36n;
/** What capture lets pass; the same number marks Heddle's own sockets. */
const proxyMark = 0x539n;

/** Envoy's own connections carry the mark by which capture tells them from the application's. */
export function bindFields(view: ClientView): ClusterInit {
  const bind = markedBind(view);
  return bind === undefined ? {} : { upstreamBindConfig: bind };
}

export type BindInit = Init<typeof BindConfigSchema> & { readonly $typeName?: never };

export function markedBind(view: ClientView): BindInit | undefined {
  if (view.proxy.dataPlane !== "envoy" || view.capture !== "transparent") return undefined;
  return {
    socketOptions: [
      {
        description: "mark of the proxy's own connections",
        level: solSocket,
        name: soMark,
        value: { case: "intValue", value: proxyMark },
        state: SocketOption_SocketState.STATE_PREBIND,
      },
    ],
  };
}

function passthrough(view: ClientView): TranslatedCluster {
  const cluster = create(ClusterSchema, {
    name: passthroughCluster,
    metadata: namedClusterMetadata(passthroughCluster),
    ...policyFields({
      policy: {},
      spoken: "downstream",
      isBalanced: false,
      connectTimeoutMs: view.model.settings.connectTimeoutMs,
    }),
    clusterDiscoveryType:
      view.capture === "explicit"
        ? forwardProxyType()
        : { case: "type", value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    ...bindFields(view),
  });
  return { cluster, origins: [], target: undefined };
}

/** Without capture nobody knows where a connection was going: the request's authority says it. */
function forwardProxyType(): NonNullable<ClusterInit["clusterDiscoveryType"]> {
  return {
    case: "clusterType",
    value: {
      name: "envoy.clusters.dynamic_forward_proxy",
      typedConfig: any(ForwardProxyClusterSchema, {
        clusterImplementationSpecifier: { case: "dnsCacheConfig", value: forwardProxyCache },
        // It opens plain connections: there is no name to be checked.
        allowInsecureClusterOptions: true,
      }),
    },
  };
}

/** Shared by the cluster and the filter before it, which must agree. */
export const forwardProxyCache: Init<typeof DnsCacheConfigSchema> = {
  name: passthroughCluster,
  dnsLookupFamily: Cluster_DnsLookupFamily.ALL,
};

/** Has no endpoints: whatever is sent there fails. */
function blackHole(): TranslatedCluster {
  const cluster = create(ClusterSchema, {
    name: blackHoleCluster,
    metadata: namedClusterMetadata(blackHoleCluster),
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
    connectTimeout: duration(10_000),
    loadAssignment: { clusterName: blackHoleCluster },
  });
  return { cluster, origins: [], target: undefined };
}
