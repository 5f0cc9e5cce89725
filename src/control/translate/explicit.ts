/**
 * Outbound without capture: one listener that accepts absolute-form requests and CONNECT for every
 * name of the mesh, and one local port for each declared destination.
 */
import { create } from "@bufbuild/protobuf";

import type { LocalDestination } from "../../model/workload.ts";
import { TrafficDirection } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import type {
  Route,
  VirtualHost,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import { RouteSchema } from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import { RouteConfigurationSchema } from "../../wire/gen/es/envoy/config/route/v3/route_pb.ts";
import type { ResourceRef } from "../../base/problem.ts";
import type { ServicePortPair } from "../mesh/tcp-claims.ts";
import { carriedAs } from "../mesh/tcp-claims.ts";
import {
  clusterForTcp,
  connectionParts,
  originsOfChains,
  serviceChains,
} from "./connection-chains.ts";
import { httpManager } from "./http-manager.ts";
import { chain, listener, plainHttp } from "./listener.ts";
import type { TranslatedListener } from "./listener.ts";
import { listenerName, outboundClusterName, passthroughCluster } from "./names.ts";
import type { TranslatedTraffic } from "./outbound.ts";
import { duration } from "./proto.ts";
import type { ClientView, ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";
import type { TranslatedRoutes } from "./virtual-hosts.ts";
import {
  fallbackHost,
  fresh,
  refusingHost,
  serviceDomains,
  serviceHost,
  singleServiceRoutes,
} from "./virtual-hosts.ts";

const outbound = TrafficDirection.OUTBOUND;
const loopback = "127.0.0.1";
const proxyRoutes = "http_proxy";

export function explicitOutbound(view: ProxyView): TranslatedTraffic {
  const table = forwardRoutes(view);
  const port = view.proxy.sidecarPorts.outbound;
  const manager = httpManager(view, {
    direction: "outbound",
    statPrefix: `outbound_${listenerName(loopback, port)};`,
    routeName: proxyRoutes,
    isForwardProxy: true,
  });
  const forward: TranslatedListener = {
    listener: listener(view, {
      name: "virtualOutbound",
      addresses: [[loopback, port]],
      direction: outbound,
      chains: [chain({ filters: [manager] })],
      inspects: [],
      isBound: true,
    }),
    origins: table.origins,
    routeNames: [proxyRoutes],
  };
  const local = view.proxy.localDestinations.map((one) => localListener(view, one));
  return {
    listeners: [forward, ...local.flatMap((one) => one.listeners)],
    routes: [table, ...local.flatMap((one) => one.routes)],
  };
}

/** Every service port by `name:port`, port 80 by the name alone too. */
function forwardRoutes(view: ProxyView): TranslatedRoutes {
  const taken = new Set<string>();
  const origins = new Map<string, ResourceRef>();
  const hosts: VirtualHost[] = [];
  for (const service of view.services) {
    for (const port of service.ports) {
      if (port.protocol === "udp") continue;
      const names = serviceDomains(view, service);
      const withPort = names.map((name) => `${name}:${port.number}`);
      const domains = fresh(port.number === 80 ? [...names, ...withPort] : withPort, taken);
      if (domains.length === 0) continue;
      const before = [connectRoute(view, { service, port })];
      const { host, rule } = serviceHost(view, { service, port }, { domains, before });
      if (rule !== undefined) origins.set(`${rule.namespace}/${rule.name}`, refOf(rule));
      hosts.push(host);
    }
  }
  const routes = create(RouteConfigurationSchema, {
    name: proxyRoutes,
    virtualHosts: [...hosts, ownHost(view), outsideHost(view)],
    maxDirectResponseBodySizeBytes: 1_048_576,
  });
  return { routes, origins: [...origins.values()] };
}

/** A request for the proxy itself would come back to it for ever. */
function ownHost(view: ProxyView): VirtualHost {
  const port = view.proxy.sidecarPorts.outbound;
  const domains = [loopback, "localhost", "[::1]"].map((name) => `${name}:${port}`);
  return refusingHost("proxy_itself", domains);
}

/** What is not of the mesh: passed on by its name, or refused. */
function outsideHost(view: ProxyView): VirtualHost {
  const host = fallbackHost(view);
  if (view.fallbackCluster !== passthroughCluster) return host;
  return { ...host, routes: [connectTo(passthroughCluster), ...host.routes] };
}

function connectRoute(view: ClientView, { service, port }: ServicePortPair): Route {
  return connectTo(clusterForTcp(view, outboundClusterName(service.hostname, port.number)));
}

function connectTo(cluster: string): Route {
  return create(RouteSchema, {
    name: "connect",
    match: { pathSpecifier: { case: "connectMatcher", value: {} } },
    action: {
      case: "route",
      value: {
        clusterSpecifier: { case: "cluster", value: cluster },
        timeout: duration(0),
        upgradeConfigs: [{ upgradeType: "CONNECT", connectConfig: {} }],
      },
    },
  });
}

/** A local port that leads to one service, for what ignores proxies. */
function localListener(view: ProxyView, destination: LocalDestination): TranslatedTraffic {
  const service = view.services.find((one) => one.hostname === destination.hostname);
  const port = service?.ports.find((one) => one.number === destination.port);
  if (service === undefined || port === undefined) return { listeners: [], routes: [] };
  const pair = { service, port };
  const name = listenerName(loopback, destination.localPort);
  const tcp = serviceChains(view, pair);
  const protocol = carriedAs(port.protocol);
  const base = {
    name,
    addresses: [[loopback, destination.localPort] as const],
    direction: outbound,
    isBound: true,
  };
  if (protocol === "tcp") {
    const built = listener(view, { ...base, ...connectionParts(tcp, undefined) });
    const origins = originsOfChains(tcp);
    return { listeners: [{ listener: built, origins, routeNames: [] }], routes: [] };
  }
  const table = singleServiceRoutes(view, name, pair);
  const manager = httpManager(view, {
    direction: "outbound",
    statPrefix: `outbound_${name};`,
    routeName: name,
  });
  const match = { transportProtocol: "raw_buffer", applicationProtocols: [...plainHttp] };
  const built =
    protocol === "auto"
      ? listener(view, {
          ...base,
          chains: [chain({ match, filters: [manager] }), ...tcp.chains.map((one) => one.chain)],
          ...(tcp.rest === undefined ? {} : { fallback: tcp.rest.chain }),
          inspects: ["tls", "http"],
          waitsFor: "server",
        })
      : listener(view, { ...base, chains: [chain({ filters: [manager] })], inspects: [] });
  return {
    listeners: [{ listener: built, origins: table.origins, routeNames: [name] }],
    routes: [table],
  };
}
