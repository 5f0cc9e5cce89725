/**
 * A gateway's port where connections are passed as they are: by the name that a client of TLS asks for
 * (`tls` routes), or all alike (the first `tcp` route that holds there), as istiod does it.
 */
import type { ResourceRef } from "../../base/problem.ts";
import type { VirtualService } from "../../model/config-resource.ts";
import type { ConnectionMatch } from "../../model/connection-routes.ts";
import { carriedBy } from "../../model/gateway.ts";
import { hostMatches } from "../../model/matching.ts";
import type { WeightedDestination } from "../../model/route-destination.ts";
import { gatewayVirtualServices } from "../mesh/lookup.ts";
import { offeredHosts, type OpenServer } from "../mesh/open-servers.ts";
import { authorizationFor } from "./authorization.ts";
import type { Conditions, Taken } from "./connection-chains.ts";
import {
  chainMatches,
  clusterForTcp,
  connectionPolicy,
  connectionTargets,
  ruledCluster,
} from "./connection-chains.ts";
import type { ChainParts, FilterInit } from "./listener.ts";
import { blackHoleCluster } from "./names.ts";
import type { ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";
import { isInScope } from "./route-match.ts";
import { tcpProxy } from "./tcp-proxy.ts";

/** What stands behind a port. */
export interface Door {
  readonly chains: readonly ChainParts[];
  /** A ClientHello must be read to choose among them. */
  readonly isByName: boolean;
  readonly origins: readonly ResourceRef[];
  readonly routeNames: readonly string[];
}

interface Doorway {
  readonly view: ProxyView;
  readonly port: number;
  readonly authorization: readonly FilterInit[];
}

export function connectionDoor(
  view: ProxyView,
  port: number,
  servers: readonly OpenServer[],
): Door {
  const authorization = authorizationFor(view, "tcp", port);
  const doorway = { view, port, authorization: authorization.network };
  const origins = new Map<string, ResourceRef>();
  const chains: ChainParts[] = [];
  const taken: Taken = new Set();
  for (const open of servers) {
    origins.set(`Gateway ${open.gateway.namespace}/${open.gateway.name}`, refOf(open.gateway));
    for (const rule of gatewayVirtualServices(view.model, open.gateway, view.proxy)) {
      const hosts = offeredHosts(view.model, rule, open);
      if (hosts.length === 0) continue;
      origins.set(`VirtualService ${rule.namespace}/${rule.name}`, refOf(rule));
      for (const { route, conditions } of routesAt(doorway, rule, open, hosts)) {
        for (const match of chainMatches(conditions, taken)) {
          chains.push({ match, filters: filtersTo(doorway, rule, route) });
        }
      }
    }
  }
  const isByName = servers.some(({ server }) => carriedBy(server) === "tls");
  const all = [...origins.values(), ...authorization.origins];
  return { chains, isByName, origins: all, routeNames: [] };
}

interface ConditionalRoute {
  readonly route: readonly WeightedDestination[];
  readonly conditions: Conditions;
}

function routesAt(
  { view, port }: Doorway,
  rule: VirtualService,
  { gateway, server }: OpenServer,
  hosts: readonly string[],
): ConditionalRoute[] {
  const scope = {
    gateways: new Set([`${gateway.namespace}/${gateway.name}`]),
    port,
    namespace: view.proxy.namespace,
    labels: view.proxy.labels,
  };
  const holds = (match: ConnectionMatch): boolean => isInScope(match, rule.namespace, scope);
  if (carriedBy(server) === "tls") {
    return (rule.spec.tls ?? []).flatMap(({ match, route }) =>
      match.filter(holds).flatMap(({ sniHosts, destinationSubnets = [] }) => {
        const serverNames = namesOffered(sniHosts, hosts);
        if (serverNames.length === 0) return [];
        const conditions = { serverNames, ranges: destinationSubnets, source: undefined };
        return [{ route, conditions }];
      }),
    );
  }
  return (rule.spec.tcp ?? []).flatMap(({ match = [], route }): ConditionalRoute[] => {
    if (match.length === 0) return [{ route, conditions: everything }];
    return match.filter(holds).map(({ destinationSubnets = [], sourceSubnet }) => ({
      route,
      conditions: { serverNames: [], ranges: destinationSubnets, source: sourceSubnet },
    }));
  });
}

/** Of names that a match asks for those that the server offers, the narrower of the two each time. */
function namesOffered(sniHosts: readonly string[], hosts: readonly string[]): string[] {
  const names = sniHosts.flatMap((written) => {
    const name = written.toLowerCase();
    return hosts.flatMap((host) => {
      if (hostMatches(host, name)) return [name];
      return hostMatches(name, host) ? [host] : [];
    });
  });
  return [...new Set(names)];
}

const everything: Conditions = { serverNames: [], ranges: [], source: undefined };

function filtersTo(
  { view, port, authorization }: Doorway,
  rule: VirtualService,
  route: readonly WeightedDestination[],
): FilterInit[] {
  const targets = connectionTargets(view, route, { namespace: rule.namespace, port });
  const first = targets[0]?.cluster ?? blackHoleCluster;
  return [
    ...authorization,
    tcpProxy(view, {
      reporter: "source",
      statPrefix: first,
      targets: targets.map((one) => ({ ...one, cluster: clusterForTcp(view, one.cluster) })),
      isBelowTls: false,
      policy: connectionPolicy(view, ruledCluster(targets) ?? first),
    }),
  ];
}
