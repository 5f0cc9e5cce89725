/**
 * Outbound listeners of a captured workload: `virtualOutbound` takes every connection and hands it to
 * the listener of its original destination (an HTTP port on any address, or one service's address),
 * else passes it on or refuses it.
 */
import type { VirtualService } from "../../model/config-resource.ts";
import { TrafficDirection } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import type { ServiceShape } from "../mesh-model.ts";
import { meshVirtualServices, virtualServiceFor } from "../mesh/lookup.ts";
import { httpManager } from "./http-manager.ts";
import type { ChainInit, TranslatedListener } from "./listener.ts";
import { chain, listener, plainHttp } from "./listener.ts";
import { blackHoleCluster, listenerName, outboundClusterName, tcpClusterName } from "./names.ts";
import type { ClientView, ProxyView } from "./proxy-view.ts";
import { protocolAt, refOf } from "./proxy-view.ts";
import { isInScope } from "./route-match.ts";
import { clusterOf } from "./routes.ts";
import type { TcpTarget } from "./tcp-proxy.ts";
import { tcpProxy } from "./tcp-proxy.ts";
import type { ServicePortPair, TranslatedRoutes } from "./virtual-hosts.ts";
import { httpPorts, meshScope, outboundRoutes, singleServiceRoutes } from "./virtual-hosts.ts";

export interface TranslatedTraffic {
  readonly listeners: readonly TranslatedListener[];
  readonly routes: readonly TranslatedRoutes[];
}

const outbound = TrafficDirection.OUTBOUND;

/** The tables that `capturedListeners` names. */
export function capturedRoutes(view: ClientView): TranslatedRoutes[] {
  const shared = [...httpPorts(view)].map(([port, pairs]) => outboundRoutes(view, port, pairs));
  const own = view.services.flatMap((service) =>
    service.ports
      .filter((port) => port.protocol === "auto" && listeningAddresses(service).length > 0)
      .map((port) =>
        singleServiceRoutes(view, detectedRoutes({ service, port }), { service, port }),
      ),
  );
  return [...shared, ...own];
}

export function capturedListeners(view: ProxyView): TranslatedListener[] {
  const listeners: TranslatedListener[] = [virtualOutbound(view)];
  for (const [port, pairs] of httpPorts(view)) listeners.push(httpListener(view, port, pairs));
  const wildcards = new Map<number, ServicePortPair[]>();
  for (const service of view.services) {
    for (const port of service.ports) {
      const protocol = protocolAt(view, port.protocol);
      if (protocol === "http" || protocol === "http2" || port.protocol === "udp") continue;
      const pair = { service, port };
      if (service.addresses.length === 0) {
        wildcards.set(port.number, [...(wildcards.get(port.number) ?? []), pair]);
        continue;
      }
      listeners.push(...serviceListener(view, pair, protocol === "auto"));
    }
  }
  for (const [port, pairs] of wildcards) {
    // An HTTP listener on the same port detects HTTP and passes the rest on already.
    const isTaken = listeners.some((one) => one.listener.name === listenerName("0.0.0.0", port));
    if (!isTaken) listeners.push(wildcardListener(view, port, pairs));
  }
  return listeners;
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

function httpListener(
  view: ProxyView,
  port: number,
  pairs: readonly ServicePortPair[],
): TranslatedListener {
  const routeName = String(port);
  const name = listenerName("0.0.0.0", port);
  const manager = httpManager(view, {
    direction: "outbound",
    statPrefix: `outbound_${name};`,
    routeName,
    carriesGrpc: pairs.some((pair) => protocolAt(view, pair.port.protocol) === "http2"),
  });
  const match = { transportProtocol: "raw_buffer", applicationProtocols: detectedHttp(view) };
  return {
    listener: listener(view, {
      name,
      addresses: anyAddress(view, port),
      direction: outbound,
      chains: [chain({ match, filters: [manager] })],
      fallback: fallbackChain(view, "PassthroughFilterChain"),
      inspects: ["tls", "http"],
      isBound: false,
    }),
    origins: pairs.flatMap(({ service }) => originsOf(service)),
    routeNames: [routeName],
  };
}

function listeningAddresses({ addresses }: ServiceShape): readonly string[] {
  return addresses.filter((address) => !address.includes("/"));
}

function detectedRoutes({ service, port }: ServicePortPair): string {
  return `${service.hostname}:${port.number}`;
}

/** A listener on a service's own addresses: TCP, or both where the protocol is detected. */
function serviceListener(
  view: ProxyView,
  pair: ServicePortPair,
  isDetected: boolean,
): TranslatedListener[] {
  const { service, port } = pair;
  const addresses = listeningAddresses(service).map((address) => [address, port.number] as const);
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
    carriesGrpc: false,
  });
  const match = { transportProtocol: "raw_buffer", applicationProtocols: detectedHttp(view) };
  const built = listener(view, {
    ...base,
    chains: [chain({ match, filters: [manager] })],
    fallback: tcp.chain,
    inspects: ["tls", "http"],
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

/** Services without an address, told apart by SNI; of several plain ones the first gets the port. */
function wildcardListener(
  view: ProxyView,
  port: number,
  pairs: readonly ServicePortPair[],
): TranslatedListener {
  const isTls = (pair: ServicePortPair): boolean =>
    pair.port.protocol === "tls" || pair.port.protocol === "https";
  const byName = pairs.filter(isTls).map((pair) => ({
    ...serviceChain(view, pair).chain,
    filterChainMatch: { transportProtocol: "tls", serverNames: [pair.service.hostname] },
  }));
  const plain = pairs.find((pair) => !isTls(pair));
  const fallback =
    plain === undefined
      ? fallbackChain(view, "PassthroughFilterChain")
      : serviceChain(view, plain).chain;
  return {
    listener: listener(view, {
      name: listenerName("0.0.0.0", port),
      addresses: anyAddress(view, port),
      direction: outbound,
      chains: byName,
      fallback,
      inspects: byName.length > 0 ? ["tls"] : [],
      isBound: false,
    }),
    origins: pairs.flatMap((pair) => originsOf(pair.service)),
    routeNames: [],
  };
}
