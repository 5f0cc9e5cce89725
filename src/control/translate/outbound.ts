/**
 * Outbound listeners of a captured workload: `virtualOutbound` takes every connection and hands it to
 * the listener of its original destination (an HTTP port on any address, or one service's address),
 * else passes it on or refuses it.
 */
import type { VirtualService } from "../../model/config-resource.ts";
import { TrafficDirection } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import type { ServiceShape } from "../mesh-model.ts";
import { meshVirtualServices, virtualServiceFor } from "../mesh/lookup.ts";
import type { ServicePortPair, TcpClaim } from "../mesh/tcp-claims.ts";
import { carriedAs, tcpClaims } from "../mesh/tcp-claims.ts";
import { httpManager } from "./http-manager.ts";
import type { ChainInit, TranslatedListener } from "./listener.ts";
import { chain, listener, plainHttp } from "./listener.ts";
import { blackHoleCluster, listenerName, outboundClusterName, tcpClusterName } from "./names.ts";
import { cidrRange } from "./proto.ts";
import type { ClientView, ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";
import { isInScope } from "./route-match.ts";
import { clusterOf } from "./routes.ts";
import type { TcpTarget } from "./tcp-proxy.ts";
import { tcpProxy } from "./tcp-proxy.ts";
import { udpListeners } from "./udp.ts";
import type { TranslatedRoutes } from "./virtual-hosts.ts";
import { httpPorts, meshScope, outboundRoutes, singleServiceRoutes } from "./virtual-hosts.ts";

export interface TranslatedTraffic {
  readonly listeners: readonly TranslatedListener[];
  readonly routes: readonly TranslatedRoutes[];
}

const outbound = TrafficDirection.OUTBOUND;

/** The tables that `capturedListeners` names. */
export function capturedRoutes(view: ClientView): TranslatedRoutes[] {
  const shared = [...httpPorts(view)].map(([port, pairs]) => outboundRoutes(view, port, pairs));
  const own = tcpClaims(view.services)
    .filter(({ port, addresses }) => port.protocol === "auto" && addresses.length > 0)
    .map((claim) => singleServiceRoutes(view, detectedRoutes(claim), claim));
  return [...shared, ...own];
}

export function capturedListeners(view: ProxyView): TranslatedListener[] {
  const claims = tcpClaims(view.services);
  const byPort = new Map<number, TcpClaim[]>();
  for (const claim of claims) {
    const { serverName, ranges, isRest, port } = claim;
    if (serverName === undefined && ranges.length === 0 && !isRest) continue;
    byPort.set(port.number, [...(byPort.get(port.number) ?? []), claim]);
  }
  const http = httpPorts(view);
  const shared = [...byPort].filter(([port]) => !http.has(port));
  return [
    virtualOutbound(view),
    ...[...http].map(([port, pairs]) => {
      return httpListener(view, { port, pairs, claims: byPort.get(port) ?? [] });
    }),
    ...claims.flatMap((claim) => serviceListener(view, claim)),
    ...shared.map(([port, those]) => sharedListener(view, port, those)),
    ...udpListeners(view),
  ];
}

function anyAddress(view: ProxyView, port: number): (readonly [string, number])[] {
  return view.hasIpv6
    ? [
        ["0.0.0.0", port],
        ["::", port],
      ]
    : [["0.0.0.0", port]];
}

function fallbackChain(view: ProxyView, name: string, cluster = view.fallbackCluster): ChainInit {
  return chain({
    name,
    filters: [
      tcpProxy(view, {
        reporter: "source",
        statPrefix: cluster,
        targets: [{ cluster, weight: 1 }],
        isBelowTls: false,
      }),
    ],
  });
}

function virtualOutbound(view: ProxyView): TranslatedListener {
  const port = view.proxy.sidecarPorts.outbound;
  // Nobody means to call the proxy itself: its own address as destination would loop.
  const loop = {
    ...fallbackChain(view, "virtualOutbound-blackhole", blackHoleCluster),
    filterChainMatch: { destinationPort: port },
  };
  return {
    listener: listener(view, {
      name: "virtualOutbound",
      addresses: anyAddress(view, port),
      direction: outbound,
      chains: [loop, fallbackChain(view, "virtualOutbound-catchall-tcp")],
      inspects: [],
      isBound: true,
      usesOriginalDst: true,
    }),
    origins: [],
    routeNames: [],
  };
}

interface HttpPort {
  readonly port: number;
  readonly pairs: readonly ServicePortPair[];
  /** What is told apart on the port before anybody looks for HTTP. */
  readonly claims: readonly TcpClaim[];
}

function httpListener(view: ProxyView, { port, pairs, claims }: HttpPort): TranslatedListener {
  const routeName = String(port);
  const name = listenerName("0.0.0.0", port);
  const manager = httpManager(view, {
    direction: "outbound",
    statPrefix: `outbound_${name};`,
    routeName,
  });
  // HTTP/2 among them, whatever the ports say: what is not taken here goes on without mutual TLS.
  const match = { transportProtocol: "raw_buffer", applicationProtocols: [...plainHttp] };
  const claimed = claims.flatMap((claim) => claimChains(view, claim));
  return {
    listener: listener(view, {
      name,
      addresses: anyAddress(view, port),
      direction: outbound,
      chains: [...claimed.map((one) => one.chain), chain({ match, filters: [manager] })],
      fallback: fallbackChain(view, "PassthroughFilterChain"),
      inspects: ["tls", "http"],
      isBound: false,
    }),
    origins: [...pairs, ...claims]
      .flatMap(({ service }) => originsOf(service))
      .concat(claimed.flatMap(({ origins }) => origins)),
    routeNames: [routeName],
  };
}

function detectedRoutes({ service, port }: ServicePortPair): string {
  return `${service.hostname}:${port.number}`;
}

/** A listener on a service's own addresses: TCP, or both where the protocol is detected. */
function serviceListener(view: ProxyView, claim: TcpClaim): TranslatedListener[] {
  const { service, port } = claim;
  const pair = { service, port };
  const isDetected = carriedAs(port.protocol) === "auto";
  const addresses = claim.addresses.map((address) => [address, port.number] as const);
  const first = addresses[0];
  if (first === undefined) return [];
  const name = listenerName(first[0], port.number);
  const tcp = serviceChain(view, pair);
  const base = { name, addresses, direction: outbound, isBound: false } as const;
  if (!isDetected) {
    const built = listener(view, { ...base, chains: [tcp.chain], inspects: [] });
    const origins = [...tcp.origins, ...originsOf(service)];
    return [{ listener: built, origins, routeNames: [] }];
  }
  const routeName = detectedRoutes(pair);
  const manager = httpManager(view, {
    direction: "outbound",
    statPrefix: `outbound_${name};`,
    routeName,
  });
  const match = { transportProtocol: "raw_buffer", applicationProtocols: detectedHttp(view) };
  const built = listener(view, {
    ...base,
    chains: [chain({ match, filters: [manager] })],
    fallback: tcp.chain,
    inspects: ["tls", "http"],
    isDetected: true,
  });
  const origins = [...tcp.origins, ...originsOf(service)];
  return [{ listener: built, origins, routeNames: [routeName] }];
}

/** HTTP versions that the proxy's own codec speaks; others pass as bytes. */
export function detectedHttp(view: ClientView): string[] {
  return view.proxy.dataPlane === "envoy" ? [...plainHttp] : ["http/1.0", "http/1.1"];
}

function originsOf(service: ServiceShape): ReturnType<typeof refOf>[] {
  return service.entry === undefined ? [] : [refOf(service.entry)];
}

export interface ServiceChain {
  readonly chain: ChainInit;
  readonly origins: readonly ReturnType<typeof refOf>[];
}

/** TCP to a service, divided as a VirtualService's `tcp` routes say. */
export function serviceChain(view: ProxyView, { service, port }: ServicePortPair): ServiceChain {
  const candidates = meshVirtualServices(view.model, view.proxy);
  const rule = virtualServiceFor(view.model, candidates, service.hostname);
  const own = outboundClusterName(service.hostname, port.number);
  const routed = tcpTargets(view, rule, port.number) ?? [{ cluster: own, weight: 1 }];
  const targets = routed.map((one) => ({ ...one, cluster: clusterForTcp(view, one.cluster) }));
  const filters = [
    tcpProxy(view, { reporter: "source", statPrefix: own, targets, isBelowTls: false }),
  ];
  return { chain: chain({ filters }), origins: rule === undefined ? [] : [refOf(rule)] };
}

/** The cluster by which bytes reach a destination: another than for HTTP where that is detected. */
export function clusterForTcp(view: ClientView, cluster: string): string {
  const [, port, , hostname = ""] = cluster.split("|");
  const service = view.model.services.get(hostname);
  const protocol = service?.ports.find((one) => String(one.number) === port)?.protocol;
  return protocol === "auto" ? tcpClusterName(cluster) : cluster;
}

function tcpTargets(
  view: ProxyView,
  rule: VirtualService | undefined,
  port: number,
): readonly TcpTarget[] | undefined {
  if (rule === undefined) return undefined;
  const scope = meshScope(view, port);
  const route = (rule.spec.tcp ?? []).find(
    (one) =>
      (one.match ?? []).length === 0 ||
      (one.match ?? []).some((match) => isInScope(match, rule.namespace, scope)),
  );
  if (route === undefined) return undefined;
  const isOnly = route.route.length === 1;
  return route.route
    .map(({ destination, weight }) => ({
      cluster: clusterOf(view, destination, rule.namespace, port),
      weight: isOnly ? 1 : (weight ?? 0),
    }))
    .filter((target) => target.weight > 0);
}

/** What is recognised by a range of addresses, by the server's name, or by both. */
function claimChains(view: ProxyView, claim: TcpClaim): readonly ServiceChain[] {
  const { service, port, ranges, serverName } = claim;
  const own = (match: NonNullable<ChainInit["filterChainMatch"]>): ServiceChain => {
    const built = serviceChain(view, { service, port });
    return { ...built, chain: { ...built.chain, filterChainMatch: match } };
  };
  const named =
    serverName === undefined ? {} : { transportProtocol: "tls", serverNames: [serverName] };
  if (ranges.length > 0) return [own({ ...named, prefixRanges: ranges.map(cidrRange) })];
  return serverName === undefined ? [] : [own(named)];
}

/** A port of services without addresses of their own: by range, by name, and the first of the others. */
function sharedListener(
  view: ProxyView,
  port: number,
  claims: readonly TcpClaim[],
): TranslatedListener {
  const rest = claims.find(({ isRest }) => isRest);
  const fallback = rest === undefined ? undefined : serviceChain(view, rest);
  const claimed = claims.flatMap((claim) => claimChains(view, claim));
  const all = [...claimed, ...(fallback === undefined ? [] : [fallback])];
  return {
    listener: listener(view, {
      name: listenerName("0.0.0.0", port),
      addresses: anyAddress(view, port),
      direction: outbound,
      chains: claimed.map((one) => one.chain),
      fallback: fallback?.chain ?? fallbackChain(view, "PassthroughFilterChain"),
      inspects: claims.some(({ serverName }) => serverName !== undefined) ? ["tls"] : [],
      isBound: false,
    }),
    origins: [
      ...claims.flatMap(({ service }) => originsOf(service)),
      ...all.flatMap(({ origins }) => origins),
    ],
    routeNames: [],
  };
}
