/**
 * Filter chains for connections that are not routed by request: as VirtualServices' `tls` and `tcp`
 * routes divide them, else to the service itself. What a sidecar can decide by itself (who it is, which
 * port was called) is decided here; the rest becomes conditions of chains, as istiod does it.
 */
import type { VirtualService } from "../../model/config-resource.ts";
import type { TcpRoute } from "../../model/connection-routes.ts";
import type { WeightedDestination } from "../../model/route-destination.ts";
import { canonicalRange } from "../mesh/address-range.ts";
import { destinationRuleFor, policyFor } from "../mesh/destination-rules.ts";
import { virtualServicesFor } from "../mesh/lookup.ts";
import type { ServicePortPair } from "../mesh/tcp-claims.ts";
import type { ChainInit, MatchInit } from "./listener.ts";
import { chain } from "./listener.ts";
import { outboundClusterName, tcpClusterName } from "./names.ts";
import { cidrRange } from "./proto.ts";
import type { ClientView, ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";
import type { RouteScope } from "./route-match.ts";
import { isInScope } from "./route-match.ts";
import { clusterOf } from "./routes.ts";
import type { ConnectionPolicy, TcpTarget } from "./tcp-proxy.ts";
import { tcpProxy } from "./tcp-proxy.ts";
import { meshScope } from "./virtual-hosts.ts";

export interface ServiceChain {
  readonly chain: ChainInit;
  readonly origins: readonly ReturnType<typeof refOf>[];
}

/** Connections to one service port. */
export interface ServiceChains {
  /** Each with its conditions. */
  readonly chains: readonly ServiceChain[];
  /** For what no condition takes; undefined where only what is routed may pass. */
  readonly rest: ServiceChain | undefined;
}

/** By what a listener tells a service's connections from those of others; by nothing when empty. */
export interface ServicePlace {
  readonly ranges: readonly string[];
  readonly serverName: string | undefined;
}

/** What chains of a listener take already: data planes refuse one where two take the same. */
export type Taken = Set<string>;

interface Context {
  readonly view: ProxyView;
  readonly pair: ServicePortPair;
  readonly place: ServicePlace;
  readonly taken: Taken;
  readonly scope: RouteScope;
}

const anyPlace: ServicePlace = { ranges: [], serverName: undefined };

export function serviceChains(
  view: ProxyView,
  pair: ServicePortPair,
  place: ServicePlace = anyPlace,
  taken: Taken = new Set(),
): ServiceChains {
  const { service, port } = pair;
  const rules = virtualServicesFor(view.model, view.proxy, service.hostname);
  const context = { view, pair, place, taken, scope: meshScope(view, port.number) };
  if (isTls(pair)) {
    const routed = rules.flatMap((rule) => tlsChains(context, rule));
    // With routes by name nothing else may pass, as in Istio.
    if (routed.length > 0)
      return { chains: routed.flatMap(({ chains }) => chains), rest: undefined };
  } else {
    const routed = tcpChains(context, rules);
    if (routed !== undefined) return routed;
  }
  const own = outboundClusterName(service.hostname, port.number);
  return placed(context, undefined, [{ cluster: own, weight: 1 }]);
}

/** As parts of a listener that takes nothing else; `otherwise` is for what no chain takes. */
export function connectionParts(
  { chains, rest }: ServiceChains,
  otherwise: ChainInit | undefined,
): {
  readonly chains: readonly ChainInit[];
  readonly fallback?: ChainInit;
  readonly inspects: readonly "tls"[];
} {
  // One chain without conditions is nobody's fallback.
  if (chains.length === 0 && rest !== undefined) return { chains: [rest.chain], inspects: [] };
  const fallback = rest?.chain ?? otherwise;
  return {
    chains: chains.map((one) => one.chain),
    ...(fallback === undefined ? {} : { fallback }),
    inspects: looksAtNames(chains) ? ["tls"] : [],
  };
}

/** Whether a ClientHello must be read to choose among chains. */
export function looksAtNames(chains: readonly ServiceChain[]): boolean {
  return chains.some(({ chain: { filterChainMatch } }) => {
    return filterChainMatch?.transportProtocol === "tls";
  });
}

export function originsOfChains({ chains, rest }: ServiceChains): ServiceChain["origins"] {
  return [...chains, ...(rest === undefined ? [] : [rest])].flatMap(({ origins }) => origins);
}

export function isTls({ port }: ServicePortPair): boolean {
  return port.protocol === "tls" || port.protocol === "https";
}

/** One entry for each match that holds here, also where an earlier one has taken what it would. */
function tlsChains(
  context: Context,
  rule: VirtualService,
): { readonly chains: readonly ServiceChain[] }[] {
  const { scope, place } = context;
  return (rule.spec.tls ?? []).flatMap(({ match, route }) =>
    match
      .filter((one) => isInScope(one, rule.namespace, scope))
      .map(({ sniHosts, destinationSubnets = [] }) => {
        const ranges = destinationSubnets.length > 0 ? destinationSubnets : place.ranges;
        const conditions = { serverNames: sniHosts, ranges, source: undefined };
        return { chains: routeChains(context, rule, route, conditions) };
      }),
  );
}

/** Undefined where no route of connections takes what reaches the port. */
function tcpChains(context: Context, rules: readonly VirtualService[]): ServiceChains | undefined {
  const chains: ServiceChain[] = [];
  for (const rule of rules) {
    for (const route of rule.spec.tcp ?? []) {
      const matches = (route.match ?? []).filter((one) =>
        isInScope(one, rule.namespace, context.scope),
      );
      if (isForAll(route, matches)) {
        const last = placed(context, rule, targetsOf(context, rule, route.route));
        return { chains: [...chains, ...last.chains], rest: last.rest };
      }
      for (const { sourceSubnet: source, destinationSubnets = [] } of matches) {
        const ranges = destinationSubnets.length > 0 ? destinationSubnets : context.place.ranges;
        chains.push(
          ...routeChains(context, rule, route.route, { serverNames: [], ranges, source }),
        );
      }
    }
  }
  if (chains.length === 0) return undefined;
  const { service, port } = context.pair;
  const own = outboundClusterName(service.hostname, port.number);
  const last = placed(context, undefined, [{ cluster: own, weight: 1 }]);
  return { chains: [...chains, ...last.chains], rest: last.rest };
}

function isForAll(route: TcpRoute, matches: NonNullable<TcpRoute["match"]>): boolean {
  if ((route.match ?? []).length === 0) return true;
  return matches.some(
    ({ destinationSubnets = [], sourceSubnet }) =>
      destinationSubnets.length === 0 && sourceSubnet === undefined,
  );
}

/** A chain for all of a service's connections that its routes leave. */
function placed(
  context: Context,
  rule: VirtualService | undefined,
  targets: readonly TcpTarget[],
): ServiceChains {
  const { ranges, serverName } = context.place;
  if (ranges.length === 0 && serverName === undefined) {
    return { chains: [], rest: targetChain(context, rule, targets, undefined) };
  }
  const serverNames = serverName === undefined ? [] : [serverName];
  const matches = chainMatches({ serverNames, ranges, source: undefined }, context.taken);
  const chains = matches.map((match) => targetChain(context, rule, targets, match));
  return { chains, rest: undefined };
}

function routeChains(
  context: Context,
  rule: VirtualService,
  route: readonly WeightedDestination[],
  conditions: Conditions,
): ServiceChain[] {
  const targets = targetsOf(context, rule, route);
  return chainMatches(conditions, context.taken).map((match) =>
    targetChain(context, rule, targets, match),
  );
}

function targetChain(
  { view, pair }: Context,
  rule: VirtualService | undefined,
  targets: readonly TcpTarget[],
  match: MatchInit | undefined,
): ServiceChain {
  const own = outboundClusterName(pair.service.hostname, pair.port.number);
  const filter = tcpProxy(view, {
    reporter: "source",
    statPrefix: own,
    targets: targets.map((one) => ({ ...one, cluster: clusterForTcp(view, one.cluster) })),
    isBelowTls: false,
    policy: connectionPolicy(view, ruledCluster(targets) ?? own),
  });
  return {
    chain: chain({ ...(match === undefined ? {} : { match }), filters: [filter] }),
    origins: rule === undefined ? [] : [refOf(rule)],
  };
}

/**
 * The cluster whose DestinationRule bounds connections: of several the first, and none of its subsets, as in Istio.
 * Another destination would be asked for a tunnel that only a subset of the first understands.
 */
export function ruledCluster(targets: readonly TcpTarget[]): string | undefined {
  const [first, second] = targets;
  if (first === undefined || second === undefined) return first?.cluster;
  const [, port, , hostname = ""] = first.cluster.split("|");
  return outboundClusterName(hostname, Number(port));
}

/** What DestinationRules say of connections to a cluster. */
export function connectionPolicy(view: ClientView, cluster: string): ConnectionPolicy | undefined {
  const [, port = "", subsetName = "", hostname = ""] = cluster.split("|");
  const service = view.model.services.get(hostname);
  if (service === undefined) return undefined;
  const rule = destinationRuleFor(view.model, service, view.proxy);
  if (rule === undefined) return undefined;
  const subset = rule.subsets.find((one) => one.subset.name === subsetName)?.subset;
  const { connectionPool, loadBalancer } = policyFor(rule, subset, Number(port));
  return {
    idleMs: connectionPool?.tcp?.idleTimeout,
    lifetimeMs: connectionPool?.tcp?.maxConnectionDuration,
    isBySource: loadBalancer?.consistentHash?.useSourceIp === true,
    tunnel: subset?.trafficPolicy?.tunnel ?? rule.trafficPolicy?.tunnel,
  };
}

/** The cluster by which bytes reach a destination: another than for HTTP where that is detected. */
export function clusterForTcp(view: ClientView, cluster: string): string {
  const [, port, , hostname = ""] = cluster.split("|");
  const service = view.model.services.get(hostname);
  const protocol = service?.ports.find((one) => String(one.number) === port)?.protocol;
  return protocol === "auto" ? tcpClusterName(cluster) : cluster;
}

function targetsOf(
  { view, pair }: Context,
  rule: VirtualService,
  route: readonly WeightedDestination[],
): TcpTarget[] {
  return connectionTargets(view, route, { namespace: rule.namespace, port: pair.port.number });
}

/** The clusters of a route, by weight; one destination counts whatever its weight. */
export function connectionTargets(
  view: ClientView,
  route: readonly WeightedDestination[],
  from: { readonly namespace: string; readonly port: number },
): TcpTarget[] {
  const isOnly = route.length === 1;
  return route
    .map(({ destination, weight }) => ({
      cluster: clusterOf(view, destination, from.namespace, from.port),
      weight: isOnly ? 1 : (weight ?? 0),
    }))
    .filter((target) => target.weight > 0);
}

/** Empty lists and undefined take everything. */
export interface Conditions {
  readonly serverNames: readonly string[];
  readonly ranges: readonly string[];
  readonly source: string | undefined;
}

/**
 * What is left of a chain's conditions when earlier chains have theirs: one match, or several where of
 * some ranges fewer names are left than of others, or none.
 */
export function chainMatches(
  { serverNames, ranges, source }: Conditions,
  taken: Taken,
): MatchInit[] {
  // Among others `*` is all there is to say.
  const names = serverNames.includes("*") ? ["*"] : serverNames.map((name) => name.toLowerCase());
  const rangesByNames = new Map<string, { readonly names: string[]; readonly ranges: string[] }>();
  for (const range of ranges.length === 0 ? [""] : new Set(ranges.map(canonicalRange))) {
    const left = (names.length === 0 ? [""] : [...new Set(names)]).filter((name) => {
      const key = `${range} ${name} ${source === undefined ? "" : canonicalRange(source)}`;
      const isLeft = !taken.has(key);
      taken.add(key);
      return isLeft;
    });
    if (left.length === 0) continue;
    const key = left.join();
    const group = rangesByNames.get(key) ?? { names: left, ranges: [] };
    rangesByNames.set(key, group);
    group.ranges.push(range);
  }
  return [...rangesByNames.values()].map((group) => ({
    ...(names.length === 0 ? {} : { transportProtocol: "tls" }),
    serverNames: group.names.filter((name) => name !== "*" && name !== ""),
    prefixRanges: group.ranges.filter((range) => range !== "").map(cidrRange),
    sourcePrefixRanges: source === undefined ? [] : [cidrRange(canonicalRange(source))],
  }));
}
