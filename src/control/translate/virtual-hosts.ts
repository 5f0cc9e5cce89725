/** Outbound route configurations: one per HTTP port, with a virtual host for every service on it. */
import type { ResourceRef } from "../../base/problem.ts";
import { create } from "@bufbuild/protobuf";

import type { VirtualService } from "../../model/config-resource.ts";
import type { RouteConfiguration } from "../../wire/gen/es/envoy/config/route/v3/route_pb.ts";
import { RouteConfigurationSchema } from "../../wire/gen/es/envoy/config/route/v3/route_pb.ts";
import type {
  Route,
  VirtualHost,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import {
  RouteSchema,
  VirtualHostSchema,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import type { ServiceShape } from "../mesh-model.ts";
import {
  hostnamesUnder,
  httpVirtualServices,
  isVisible,
  meshVirtualServices,
  resolveHost,
} from "../mesh/lookup.ts";
import type { ServicePortPair } from "../mesh/tcp-claims.ts";
import { carriedAs } from "../mesh/tcp-claims.ts";
import { blackHoleCluster, passthroughCluster } from "./names.ts";
import { duration } from "./proto.ts";
import type { ClientView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";
import { anyPath } from "./route-match.ts";
import type { RouteScope } from "./route-match.ts";
import { defaultRoute, virtualServiceRoutes } from "./routes.ts";

export interface TranslatedRoutes {
  readonly routes: RouteConfiguration;
  readonly origins: readonly ResourceRef[];
}

/** HTTP ports of visible services, by port number. */
export function httpPorts(view: ClientView): ReadonlyMap<number, readonly ServicePortPair[]> {
  const ports = new Map<number, ServicePortPair[]>();
  for (const service of view.services) {
    for (const port of service.ports) {
      const protocol = carriedAs(port.protocol);
      if (protocol !== "http" && protocol !== "http2") continue;
      ports.set(port.number, [...(ports.get(port.number) ?? []), { service, port }]);
    }
  }
  return new Map([...ports].toSorted(([left], [right]) => left - right));
}

/** The table of one port, as `0.0.0.0_<port>` uses it. */
export function outboundRoutes(
  view: ClientView,
  port: number,
  pairs: readonly ServicePortPair[],
): TranslatedRoutes {
  const taken = new Set<string>();
  const origins = new Map<VirtualService, ResourceRef>();
  const hosts: VirtualHost[] = [];
  for (const pair of pairs) {
    const domains = fresh(serviceDomains(view, pair.service), taken);
    if (domains.length === 0) continue;
    const { host, rule } = serviceHost(view, pair, { domains });
    if (rule !== undefined) origins.set(rule, refOf(rule));
    hosts.push(host);
  }
  // Hosts that only a VirtualService knows have no port of their own: Istio serves them on 80.
  for (const rule of port === 80 ? meshVirtualServices(view.model, view.proxy) : []) {
    const routes = virtualServiceRoutes(view, rule, meshScope(view, port));
    if (routes.length === 0) continue;
    for (const domain of fresh(virtualDomains(view, rule), taken)) {
      origins.set(rule, refOf(rule));
      hosts.push(
        create(VirtualHostSchema, { name: `${domain}:${port}`, domains: [domain], routes }),
      );
    }
  }
  const routes = create(RouteConfigurationSchema, {
    name: String(port),
    virtualHosts: [...hosts, fallbackHost(view)],
    ignorePortInHostMatching: true,
    maxDirectResponseBodySizeBytes: 1_048_576,
  });
  return { routes, origins: [...origins.values()] };
}

/** The table of one service port alone: whatever the authority, it is this service. */
export function singleServiceRoutes(
  view: ClientView,
  name: string,
  pair: ServicePortPair,
): TranslatedRoutes {
  const { host, rule } = serviceHost(view, pair, { domains: ["*"] });
  const routes = create(RouteConfigurationSchema, {
    name,
    virtualHosts: [host],
    maxDirectResponseBodySizeBytes: 1_048_576,
  });
  return { routes, origins: rule === undefined ? [] : [refOf(rule)] };
}

export interface ServiceHost {
  readonly host: VirtualHost;
  /** Whose routes it has; undefined where they are the service's default. */
  readonly rule: VirtualService | undefined;
}

export function serviceHost(
  view: ClientView,
  { service, port }: ServicePortPair,
  options: {
    readonly domains: readonly string[];
    readonly before?: readonly Route[];
  },
): ServiceHost {
  const scope = meshScope(view, port.number);
  let routes: readonly Route[] = [];
  // As in Istio: a rule that has no route for this caller and port is as good as none.
  const rules = httpVirtualServices(view.model, view.proxy, service.hostname);
  const rule = rules.find((one) => {
    routes = virtualServiceRoutes(view, one, scope);
    return routes.length > 0;
  });
  if (rule === undefined) routes = [defaultRoute(view, service, port)];
  const host = create(VirtualHostSchema, {
    name: `${service.hostname}:${port.number}`,
    domains: [...options.domains],
    routes: [...(options.before ?? []), ...routes],
    includeRequestAttemptCount: true,
  });
  return { host, rule };
}

export function meshScope(view: ClientView, port: number | undefined): RouteScope {
  const { namespace, labels } = view.proxy;
  return { gateways: new Set(["mesh"]), port, namespace, labels };
}

/** Every name under which this proxy's workload may call a service, without ports. */
export function serviceDomains(view: ClientView, service: ServiceShape): string[] {
  const { hostname, namespace, addresses } = service;
  const literal = addresses.filter((address) => !address.includes("/")).map(bracketed);
  const suffix = `.svc.${view.model.domain}`;
  if (!hostname.endsWith(suffix)) return [hostname, ...literal];
  const short = hostname.slice(0, -suffix.length);
  const names = [hostname, `${short}.svc`, short];
  const local = short.endsWith(`.${namespace}`) ? short.slice(0, -namespace.length - 1) : short;
  if (namespace === view.proxy.namespace) names.push(local);
  return [...names, ...literal];
}

function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

function virtualDomains(view: ClientView, rule: VirtualService): string[] {
  return rule.spec.hosts
    .map((host) => resolveHost(view.model, host, rule.namespace))
    .filter((host) => {
      const known = hostnamesUnder(view.model, host).flatMap(
        (name) => view.model.services.get(name) ?? [],
      );
      return !known.some((one) => isVisible(one.exportTo, one.namespace, view.proxy.namespace));
    });
}

/** Envoy refuses a table in which a domain occurs twice; the first owner keeps it. */
export function fresh(domains: readonly string[], taken: Set<string>): string[] {
  return domains.filter((domain) => {
    if (taken.has(domain)) return false;
    taken.add(domain);
    return true;
  });
}

/** Answers 502, as Istio does for what is blocked. */
export function refusingHost(name: string, domains: readonly string[]): VirtualHost {
  return create(VirtualHostSchema, {
    name,
    domains: [...domains],
    routes: [
      create(RouteSchema, {
        name,
        match: anyPath(),
        action: { case: "directResponse", value: { status: 502 } },
      }),
    ],
    includeRequestAttemptCount: true,
  });
}

/** What is not of the mesh: passed on, or refused with 502 as Istio does. */
export function fallbackHost(view: ClientView): VirtualHost {
  if (view.fallbackCluster === blackHoleCluster) return refusingHost("block_all", ["*"]);
  return create(VirtualHostSchema, {
    name: "allow_any",
    domains: ["*"],
    routes: [
      create(RouteSchema, {
        name: "allow_any",
        match: anyPath(),
        action: {
          case: "route",
          value: {
            clusterSpecifier: { case: "cluster", value: passthroughCluster },
            timeout: duration(0),
          },
        },
      }),
    ],
    includeRequestAttemptCount: true,
  });
}
