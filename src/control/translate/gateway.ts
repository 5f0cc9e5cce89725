/**
 * A gateway: one listener for each port that Gateways open on it, with the hosts they offer and the
 * routes of the VirtualServices bound to them, merged by host; what takes every request goes last.
 */
import { create } from "@bufbuild/protobuf";

import type { ResourceRef } from "../../base/problem.ts";
import { carriedBy } from "../../model/gateway.ts";
import type { CidrRangeSchema } from "../../wire/gen/es/envoy/config/core/v3/address_pb.ts";
import { TrafficDirection } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import type {
  Route,
  VirtualHost,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import {
  VirtualHost_TlsRequirementType as TlsRequirement,
  VirtualHostSchema,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import { RouteConfigurationSchema } from "../../wire/gen/es/envoy/config/route/v3/route_pb.ts";
import { gatewaysOf, gatewayVirtualServices } from "../mesh/lookup.ts";
import {
  offeredHosts,
  offeredName,
  type OpenServer,
  serversOfOneKind,
} from "../mesh/open-servers.ts";
import { authorizationFor } from "./authorization.ts";
import type { Door } from "./gateway-connections.ts";
import { connectionDoor } from "./gateway-connections.ts";
import { httpManager } from "./http-manager.ts";
import type { TranslatedListener } from "./listener.ts";
import { chain, listener } from "./listener.ts";
import { listenerName } from "./names.ts";
import type { TranslatedTraffic } from "./outbound.ts";
import type { Init } from "./proto.ts";
import type { ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";
import { takesAll } from "./route-match.ts";
import { virtualServiceRoutes } from "./routes.ts";
import type { TranslatedRoutes } from "./virtual-hosts.ts";

export function gatewayTraffic(view: ProxyView): TranslatedTraffic {
  const byPort = new Map<number, OpenServer[]>();
  for (const gateway of gatewaysOf(view.model, view.proxy)) {
    for (const server of gateway.spec.servers) {
      const { number } = server.port;
      byPort.set(number, [...(byPort.get(number) ?? []), { gateway, server }]);
    }
  }
  const listeners: TranslatedListener[] = [];
  const routes: TranslatedRoutes[] = [];
  for (const [port, all] of [...byPort].toSorted(([left], [right]) => left - right)) {
    const servers = serversOfOneKind(all);
    const isHttp = servers.some(({ server }) => carriedBy(server) === "http");
    if (!isHttp) {
      listeners.push(...gatewayListeners(view, port, connectionDoor(view, port, servers)));
      continue;
    }
    const table = gatewayRoutes(view, port, servers);
    routes.push(table);
    listeners.push(...gatewayListeners(view, port, httpDoor(view, port, table)));
  }
  return { listeners, routes };
}

function httpDoor(view: ProxyView, port: number, table: TranslatedRoutes): Door {
  const authorization = authorizationFor(view, "http", port);
  const manager = httpManager(view, {
    direction: "gateway",
    statPrefix: `outbound_${listenerName("0.0.0.0", port)};`,
    routeName: table.routes.name,
    authorization: authorization.http,
  });
  return {
    chains: [{ filters: [manager] }],
    isByName: false,
    origins: [...table.origins, ...authorization.origins],
    routeNames: [table.routes.name],
  };
}

function gatewayListeners(view: ProxyView, port: number, door: Door): TranslatedListener[] {
  // Without a route there is nobody to whom a connection could go; data planes want a chain.
  if (door.chains.length === 0) return [];
  const own = view.proxy.ports.find((one) => one.port === port);
  // In explicit mode the gateway has one loopback address and a free port; elsewhere its own.
  const isLoopback = own?.endpointAddress.startsWith("127.") ?? false;
  const address = isLoopback ? (own?.endpointAddress ?? "127.0.0.1") : "0.0.0.0";
  const bound = own?.endpointPort ?? port;
  const addresses: [string, number][] = [[address, bound]];
  if (!isLoopback && view.hasIpv6) addresses.push(["::", bound]);
  const name = listenerName("0.0.0.0", port);
  const served = {
    direction: TrafficDirection.OUTBOUND,
    waitsFor: "nobody",
    isBound: true,
  } as const;
  const byName = door.isByName ? (["tls"] as const) : [];
  const listeners = [
    listener(view, {
      ...served,
      name,
      addresses,
      chains: door.chains.map(chain),
      inspects: byName,
    }),
  ];
  if (own?.relay !== undefined) {
    const directSourcePrefixRanges = own.relay.from.map((one) => wholeAddress(one));
    const chains = door.chains.map((one) =>
      chain({ ...one, match: { ...one.match, directSourcePrefixRanges } }),
    );
    listeners.push(
      listener(view, {
        ...served,
        name: `relay_${name}`,
        addresses: [[own.endpointAddress, own.relay.port]],
        chains,
        inspects: ["proxy-header", ...byName],
      }),
    );
  }
  const { origins, routeNames } = door;
  return listeners.map((one) => ({ listener: one, origins, routeNames }));
}

function wholeAddress(addressPrefix: string): Init<typeof CidrRangeSchema> {
  return { addressPrefix, prefixLen: addressPrefix.includes(":") ? 128 : 32 };
}

interface HostEntry {
  readonly routes: Route[];
  redirectsToHttps: boolean;
}

function entryOf(hosts: Map<string, HostEntry>, domain: string): HostEntry {
  const known = hosts.get(domain);
  if (known !== undefined) return known;
  const entry: HostEntry = { routes: [], redirectsToHttps: false };
  hosts.set(domain, entry);
  return entry;
}

function gatewayRoutes(
  view: ProxyView,
  port: number,
  servers: readonly OpenServer[],
): TranslatedRoutes {
  const hosts = new Map<string, HostEntry>();
  const origins = new Map<string, ResourceRef>();
  const done = new Set<string>();
  for (const { gateway, server } of servers) {
    const gatewayKey = `${gateway.namespace}/${gateway.name}`;
    origins.set(`Gateway ${gatewayKey}`, refOf(gateway));
    const scope = {
      gateways: new Set([gatewayKey]),
      port,
      namespace: view.proxy.namespace,
      labels: view.proxy.labels,
    };
    const redirectsToHttps = server.tls?.httpsRedirect ?? false;
    for (const rule of gatewayVirtualServices(view.model, gateway, view.proxy)) {
      const ruleKey = `${rule.namespace}/${rule.name}`;
      for (const domain of offeredHosts(view.model, rule, { gateway, server })) {
        const entry = entryOf(hosts, domain);
        entry.redirectsToHttps ||= redirectsToHttps;
        // The same rule may reach one host through several servers or gateways: once is enough.
        const key = `${domain} ${ruleKey}`;
        if (done.has(key)) continue;
        done.add(key);
        origins.set(`VirtualService ${ruleKey}`, refOf(rule));
        entry.routes.push(...virtualServiceRoutes(view, rule, scope));
      }
    }
    // Also names that no VirtualService has routes for.
    for (const host of redirectsToHttps ? server.hosts : []) {
      entryOf(hosts, offeredName(host).toLowerCase()).redirectsToHttps = true;
    }
  }
  const routes = create(RouteConfigurationSchema, {
    name: `http.${port}`,
    virtualHosts: [...hosts].map(([domain, entry]) => virtualHost(domain, port, entry)),
    ignorePortInHostMatching: true,
    maxDirectResponseBodySizeBytes: 1_048_576,
  });
  return { routes, origins: [...origins.values()] };
}

/** Of merged VirtualServices no catch-all hides the routes of the next: as in Istio, those go last. */
function inOrder(routes: readonly Route[]): Route[] {
  return [...routes.filter((one) => !takesAll(one)), ...routes.filter(takesAll)];
}

function virtualHost(domain: string, port: number, entry: HostEntry): VirtualHost {
  return create(VirtualHostSchema, {
    name: `${domain}:${port}`,
    domains: [domain],
    routes: inOrder(entry.routes),
    includeRequestAttemptCount: true,
    ...(entry.redirectsToHttps ? { requireTls: TlsRequirement.ALL } : {}),
  });
}
