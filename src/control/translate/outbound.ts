/**
 * Outbound listeners of a captured workload: `virtualOutbound` takes every connection and hands it to
 * the listener of its original destination (an HTTP port on any address, or one service's address),
 * else passes it on or refuses it.
 */
import { allocatedRanges, declaredRanges } from "../../base/service-ranges.ts";
import { TrafficDirection } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import type { ServiceShape } from "../mesh-model.ts";
import { canonicalRange } from "../mesh/address-range.ts";
import type { ServicePortPair, TcpClaim } from "../mesh/tcp-claims.ts";
import { carriedAs, tcpClaims } from "../mesh/tcp-claims.ts";
import type { ServiceChain, Taken } from "./connection-chains.ts";
import {
  connectionParts,
  looksAtNames,
  originsOfChains,
  serviceChains,
} from "./connection-chains.ts";
import { httpManager } from "./http-manager.ts";
import type { ChainInit, MatchInit, TranslatedListener } from "./listener.ts";
import { chain, detectionMs, listener, plainHttp } from "./listener.ts";
import { blackHoleCluster, listenerName, passthroughCluster } from "./names.ts";
import { cidrRange } from "./proto.ts";
import type { ClientView, ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";
import { tcpProxy } from "./tcp-proxy.ts";
import { udpListeners } from "./udp.ts";
import type { TranslatedRoutes } from "./virtual-hosts.ts";
import { httpPorts, outboundRoutes, singleServiceRoutes } from "./virtual-hosts.ts";

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

function httpListener(view: ProxyView, http: HttpPort): TranslatedListener {
  const { port, pairs, claims } = http;
  const routeName = String(port);
  const name = listenerName("0.0.0.0", port);
  const manager = httpManager(view, {
    direction: "outbound",
    statPrefix: `outbound_${name};`,
    routeName,
  });
  // HTTP/2 among them, whatever the ports say: what is not taken here goes on without mutual TLS.
  const match = { transportProtocol: "raw_buffer", applicationProtocols: [...plainHttp] };
  const claimed = claimChains(view, claims);
  // What is blocked anyway has no server that could speak.
  const isOpen = view.fallbackCluster === passthroughCluster;
  const wait = isOpen ? ({ waitsFor: "server" } as const) : {};
  const isBounded = detectionMs(view, wait) > 0;
  return {
    listener: listener(view, {
      name,
      addresses: anyAddress(view, port),
      direction: outbound,
      chains: [
        ...claimed.map((one) => one.chain),
        chain({ match, filters: [manager] }),
        ...(isBounded ? [chain({ match: serviceMatch(view, http), filters: [manager] })] : []),
      ],
      fallback: fallbackChain(view, "PassthroughFilterChain"),
      inspects: ["tls", "http"],
      ...wait,
      isBound: false,
    }),
    origins: [...pairs, ...claims]
      .flatMap(({ service }) => originsOf(service))
      .concat(claimed.flatMap(({ origins }) => origins)),
    routeNames: [routeName],
  };
}

/**
 * Where the first bytes are not waited for without end, clients of the mesh's own services may be silent all the
 * same: nothing but a service of HTTP is behind these addresses, and nobody else could answer there. So it is with
 * the addresses that ServiceEntries give: passed on as bytes, a request would go without their TLS and routes.
 */
function serviceMatch(view: ProxyView, { pairs, claims }: HttpPort): MatchInit {
  const own = [declaredRanges, allocatedRanges].flatMap(({ ipv4, ipv6 }) =>
    view.hasIpv6 ? [ipv4, ipv6] : [ipv4],
  );
  const taken = new Set([...own, ...claims.flatMap(({ ranges }) => ranges)].map(canonicalRange));
  const given = pairs
    .filter(({ service }) => service.entry !== undefined && !service.isAllocated)
    .flatMap(({ service }) => service.addresses)
    .filter((address) => view.hasIpv6 || !address.includes(":"))
    .map(canonicalRange)
    .filter((range) => !taken.has(range) && !range.endsWith("/0"));
  const ranges = [...own, ...new Set(given)];
  return { transportProtocol: "raw_buffer", prefixRanges: ranges.map(cidrRange) };
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
  const tcp = serviceChains(view, pair);
  const passed = fallbackChain(view, "PassthroughFilterChain");
  const origins = [...originsOfChains(tcp), ...originsOf(service)];
  const base = { name, addresses, direction: outbound, isBound: false } as const;
  if (!isDetected) {
    const built = listener(view, { ...base, ...connectionParts(tcp, passed) });
    return [{ listener: built, origins, routeNames: [] }];
  }
  const routeName = detectedRoutes(pair);
  const manager = httpManager(view, {
    direction: "outbound",
    statPrefix: `outbound_${name};`,
    routeName,
  });
  const match = { transportProtocol: "raw_buffer", applicationProtocols: [...plainHttp] };
  const built = listener(view, {
    ...base,
    chains: [chain({ match, filters: [manager] }), ...tcp.chains.map((one) => one.chain)],
    fallback: tcp.rest?.chain ?? passed,
    inspects: ["tls", "http"],
    waitsFor: "server",
  });
  return [{ listener: built, origins, routeNames: [routeName] }];
}

function originsOf(service: ServiceShape): ReturnType<typeof refOf>[] {
  return service.entry === undefined ? [] : [refOf(service.entry)];
}

/** What is recognised by a range of addresses, by the server's name, or by both. */
function claimChains(
  view: ProxyView,
  claims: readonly TcpClaim[],
  taken: Taken = new Set(),
): readonly ServiceChain[] {
  return claims
    .filter(({ ranges, serverName }) => ranges.length > 0 || serverName !== undefined)
    .flatMap((claim) => serviceChains(view, claim, claim, taken).chains);
}

/** A port of services without addresses of their own: by range, by name, and the first of the others. */
function sharedListener(
  view: ProxyView,
  port: number,
  claims: readonly TcpClaim[],
): TranslatedListener {
  const rest = claims.find(({ isRest }) => isRest);
  const taken: Taken = new Set();
  const claimed = claimChains(view, claims, taken);
  const left = rest === undefined ? undefined : serviceChains(view, rest, undefined, taken);
  const fallback = left?.rest;
  const conditional = [...claimed, ...(left?.chains ?? [])];
  const all = [...conditional, ...(fallback === undefined ? [] : [fallback])];
  return {
    listener: listener(view, {
      name: listenerName("0.0.0.0", port),
      addresses: anyAddress(view, port),
      direction: outbound,
      chains: conditional.map((one) => one.chain),
      fallback: fallback?.chain ?? fallbackChain(view, "PassthroughFilterChain"),
      inspects: looksAtNames(conditional) ? ["tls"] : [],
      isBound: false,
    }),
    origins: [
      ...claims.flatMap(({ service }) => originsOf(service)),
      ...all.flatMap(({ origins }) => origins),
    ],
    routeNames: [],
  };
}
