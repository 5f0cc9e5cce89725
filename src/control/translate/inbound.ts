/**
 * Inbound: who may speak to the application, and how. Each declared port has its chains (mutual TLS
 * from proxies, plaintext where the mode allows it), connections to other ports pass with the same
 * checks. The mode and the policies decide which chains exist; what has no chain is closed.
 */
import { create } from "@bufbuild/protobuf";

import type { ResourceRef } from "../../base/problem.ts";
import type { InstancePort } from "../../model/workload.ts";
import { TrafficDirection } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import { RouteConfigurationSchema } from "../../wire/gen/es/envoy/config/route/v3/route_pb.ts";
import { mtlsModeFor, peerAuthenticationsFor } from "../mesh/security.ts";
import type { EffectiveMtls } from "../mesh/security.ts";
import { carriedAs } from "../mesh/tcp-claims.ts";
import { authorizationFor } from "./authorization.ts";
import { httpManager } from "./http-manager.ts";
import type { ChainInit, FilterInit, TranslatedListener } from "./listener.ts";
import { chain, listener, plainHttp } from "./listener.ts";
import { inboundClusterName, inboundPassthroughCluster } from "./names.ts";
import type { TranslatedTraffic } from "./outbound.ts";
import { duration } from "./proto.ts";
import type { ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";
import { anyPath } from "./route-match.ts";
import { tcpProxy } from "./tcp-proxy.ts";
import { meshAlpn, meshDownstreamTls } from "./tls.ts";
import type { TranslatedRoutes } from "./virtual-hosts.ts";

/** What lies behind a set of chains: a declared port, or any other one. */
interface InboundTarget {
  /** The application's port; undefined for connections to ports nobody declared. */
  readonly port: number | undefined;
  /** Whether chains must match it: one listener takes several ports. */
  readonly matchesPort: boolean;
  readonly cluster: string;
  readonly protocol: "http" | "http2" | "tcp" | "auto";
  readonly mode: EffectiveMtls;
}

const inbound = TrafficDirection.INBOUND;

export function inboundTraffic(view: ProxyView): TranslatedTraffic {
  return view.capture === "explicit" ? explicitInbound(view) : capturedInbound(view);
}

function capturedInbound(view: ProxyView): TranslatedTraffic {
  const { proxy } = view;
  const port = proxy.sidecarPorts.inbound;
  const targets = [...declaredTargets(view, true), undeclaredTarget(view)];
  const built = targets.map((target) => targetChains(view, target));
  // The proxy's own port as original destination means nobody was captured: nothing to forward to.
  const loop = chain({
    name: "virtualInbound-blackhole",
    match: { destinationPort: port },
    filters: [tcpTo(view, "BlackHoleCluster", false)],
  });
  const name = "virtualInbound";
  const addresses: [string, number][] = [["0.0.0.0", port]];
  if (view.hasIpv6) addresses.push(["::", port]);
  const resource = listener(view, {
    name,
    addresses,
    direction: inbound,
    chains: [loop, ...built.flatMap((one) => one.chains)],
    inspects: ["original-dst", "tls", "http"],
    notHttp: targets.flatMap(({ protocol, port: own }) =>
      protocol === "tcp" && own !== undefined ? [own] : [],
    ),
    waitsFor: "workload",
    isBound: true,
  });
  return {
    listeners: [{ listener: resource, origins: originsOf(view), routeNames: built.flatMap(names) }],
    routes: built.flatMap((one) => one.routes),
  };
}

/** Without capture, each port of the application has a listener of its own at its sidecar. */
function explicitInbound(view: ProxyView): TranslatedTraffic {
  const listeners: TranslatedListener[] = [];
  const routes: TranslatedRoutes[] = [];
  const targets = declaredTargets(view, false);
  for (const [index, port] of view.proxy.ports.entries()) {
    const target = targets[index];
    if (target === undefined) continue;
    const built = targetChains(view, target);
    const resource = listener(view, {
      name: `inbound_${port.endpointAddress}_${port.endpointPort}`,
      addresses: [[port.endpointAddress, port.endpointPort]],
      direction: inbound,
      chains: built.chains,
      inspects: target.protocol === "tcp" ? ["tls"] : ["tls", "http"],
      waitsFor: "workload",
      isBound: true,
    });
    listeners.push({ listener: resource, origins: originsOf(view), routeNames: names(built) });
    routes.push(...built.routes);
  }
  return { listeners, routes };
}

function names(built: { readonly routes: readonly TranslatedRoutes[] }): string[] {
  return built.routes.map((one) => one.routes.name);
}

function originsOf(view: ProxyView): ResourceRef[] {
  const policies = authorizationFor(view, "tcp", undefined).origins;
  return [...peerAuthenticationsFor(view.model, view.proxy).map(refOf), ...policies];
}

function declaredTargets(view: ProxyView, matchesPort: boolean): InboundTarget[] {
  return view.proxy.ports.map((port: InstancePort) => ({
    port: port.port,
    matchesPort,
    cluster: inboundClusterName(port.port),
    protocol: carriedAs(port.protocol),
    mode: mtlsModeFor(view.model, view.proxy, port.port),
  }));
}

function undeclaredTarget(view: ProxyView): InboundTarget {
  return {
    port: undefined,
    matchesPort: false,
    cluster: inboundPassthroughCluster,
    protocol: "auto",
    mode: mtlsModeFor(view.model, view.proxy, 0),
  };
}

interface BuiltChains {
  readonly chains: readonly ChainInit[];
  readonly routes: readonly TranslatedRoutes[];
}

function targetChains(view: ProxyView, target: InboundTarget): BuiltChains {
  const routeName = target.port === undefined ? inboundPassthroughCluster : target.cluster;
  const filters: ChainFilters = {
    http: (): FilterInit[] => [httpTo(view, target, routeName)],
    tcp: (isBelowTls): FilterInit[] => [
      ...authorizationFor(view, "tcp", target.port).network,
      tcpTo(view, target.cluster, isBelowTls),
    ],
  };
  const takesHttp = target.protocol !== "tcp";
  return {
    chains: [
      ...(target.mode === "DISABLE" ? [] : mtlsChains(target, filters)),
      ...(target.mode === "STRICT" ? [] : plainChains(target, filters)),
    ],
    routes: takesHttp ? [inboundRoutes(routeName, target.cluster)] : [],
  };
}

interface ChainFilters {
  readonly http: () => FilterInit[];
  readonly tcp: (isBelowTls: boolean) => FilterInit[];
}

/** Chains for connections from peer proxies. */
function mtlsChains(target: InboundTarget, filters: ChainFilters): ChainInit[] {
  const match = portMatch(target);
  const isStrict = target.mode === "STRICT";
  const http = (alpn: readonly string[]): ChainInit =>
    chain({
      name: chainName(target, "mtls-http"),
      match: { ...match, transportProtocol: "tls", applicationProtocols: [...alpn] },
      filters: filters.http(),
      transportSocket: meshDownstreamTls(["h2", "http/1.1"]),
    });
  const tcp = (alpn: readonly string[]): ChainInit =>
    chain({
      name: chainName(target, "mtls-tcp"),
      match: { ...match, transportProtocol: "tls", applicationProtocols: [...alpn] },
      filters: filters.tcp(true),
      transportSocket: meshDownstreamTls(meshAlpn.tcp),
    });
  // In STRICT every TLS connection must be mutual; in PERMISSIVE the application may have TLS itself.
  switch (target.protocol) {
    case "http":
    case "http2":
      return [http(isStrict ? [] : meshAlpn.any)];
    case "tcp":
      return [tcp(isStrict ? [] : meshAlpn.any)];
    case "auto":
      return [http(meshAlpn.http), tcp(isStrict ? [] : meshAlpn.tcp)];
  }
}

/** Chains for plaintext, and for TLS that is the application's own. */
function plainChains(target: InboundTarget, filters: ChainFilters): ChainInit[] {
  const match = portMatch(target);
  const plain = (applicationProtocols: string[], isHttp: boolean): ChainInit =>
    chain({
      name: chainName(target, isHttp ? "plain-http" : "plain-tcp"),
      match: { ...match, transportProtocol: "raw_buffer", applicationProtocols },
      filters: isHttp ? filters.http() : filters.tcp(false),
    });
  const ownTls = chain({
    name: chainName(target, "own-tls"),
    match: { ...match, transportProtocol: "tls" },
    filters: filters.tcp(false),
  });
  switch (target.protocol) {
    case "http":
    case "http2":
      return [plain([], true)];
    case "tcp":
      return [plain([], false), ownTls];
    case "auto":
      return [plain([...plainHttp], true), plain([], false), ownTls];
  }
}

function portMatch(target: InboundTarget): { readonly destinationPort?: number } {
  return target.matchesPort && target.port !== undefined ? { destinationPort: target.port } : {};
}

function chainName(target: InboundTarget, kind: string): string {
  return target.port === undefined ? `virtualInbound-${kind}` : `${target.port}-${kind}`;
}

function httpTo(view: ProxyView, target: InboundTarget, routeName: string): FilterInit {
  const port = target.port ?? 0;
  return httpManager(view, {
    direction: "inbound",
    statPrefix: `inbound_0.0.0.0_${port};`,
    routeName,
    authorization: authorizationFor(view, "http", target.port).http,
  });
}

function tcpTo(view: ProxyView, cluster: string, isBelowTls: boolean): FilterInit {
  return tcpProxy(view, {
    reporter: "destination",
    statPrefix: cluster,
    targets: [{ cluster, weight: 1 }],
    isBelowTls,
  });
}

/** Everything goes to the application; a request it cannot have seen may be sent once more. */
function inboundRoutes(name: string, cluster: string): TranslatedRoutes {
  const routes = create(RouteConfigurationSchema, {
    name,
    virtualHosts: [
      {
        name: cluster === inboundPassthroughCluster ? name : `inbound|http|${name.split("|")[1]}`,
        domains: ["*"],
        routes: [
          {
            name: "default",
            match: anyPath(),
            action: {
              case: "route",
              value: {
                clusterSpecifier: { case: "cluster", value: cluster },
                timeout: duration(0),
                // The deadline that a call of gRPC brings along.
                maxStreamDuration: {
                  maxStreamDuration: duration(0),
                  grpcTimeoutHeaderMax: duration(0),
                },
                retryPolicy: { retryOn: "reset-before-request", numRetries: 2 },
              },
            },
          },
        ],
      },
    ],
    maxDirectResponseBodySizeBytes: 1_048_576,
  });
  return { routes, origins: [] };
}
