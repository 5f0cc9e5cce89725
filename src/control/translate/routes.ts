/** The HTTP routes of a VirtualService, and the default route of a service without one. */
import { create } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";

import type { VirtualService } from "../../model/config-resource.ts";
import type { ConsistentHash } from "../../model/destination-rule.ts";
import type { Destination } from "../../model/route-destination.ts";
import type {
  HttpMatch,
  HttpRoute,
  MirrorPolicy,
  RouteDestination,
} from "../../model/virtual-service.ts";
import type { Route } from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import {
  type RouteAction_HashPolicySchema,
  type RouteActionSchema,
  RouteSchema,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import type { MeshPort, ServiceShape } from "../mesh-model.ts";
import { destinationRuleFor, policyFor } from "../mesh/destination-rules.ts";
import { resolveHost } from "../mesh/lookup.ts";
import { outboundClusterName } from "./names.ts";
import type { Init } from "./proto.ts";
import { duration } from "./proto.ts";
import type { ClientView } from "./proxy-view.ts";
import {
  authorityFrom,
  corsConfig,
  directResponse,
  faultConfig,
  fractionalPercent,
  headerFields,
  redirectAction,
  retryPolicy,
} from "./route-action.ts";
import type { RouteScope } from "./route-match.ts";
import { anyPath, isInScope, routeMatch, takesAll } from "./route-match.ts";

type ActionInit = Init<typeof RouteActionSchema>;

/** Every route of `rule` that can match in `scope`, in order; ends at one that takes everything. */
export function virtualServiceRoutes(
  view: ClientView,
  rule: VirtualService,
  scope: RouteScope,
): Route[] {
  const routes: Route[] = [];
  for (const http of rule.spec.http ?? []) {
    const written = http.match ?? [];
    const matches: readonly (HttpMatch | undefined)[] =
      written.length === 0 ? [undefined] : written;
    for (const match of matches) {
      if (match !== undefined && !isInScope(match, rule.namespace, scope)) continue;
      const route = translateRoute({ view, rule, scope, http, match });
      routes.push(route);
      if (takesAll(route)) return routes;
    }
  }
  return routes;
}

interface RouteContext {
  readonly view: ClientView;
  readonly rule: VirtualService;
  readonly scope: RouteScope;
  readonly http: HttpRoute;
  readonly match: HttpMatch | undefined;
}

function translateRoute(context: RouteContext): Route {
  const { http, match, rule, scope } = context;
  const name = [http.name, match?.name].filter((part) => part !== undefined && part !== "");
  const route = {
    name: name.join("."),
    match: match === undefined ? anyPath() : routeMatch(match),
    ...headerFields(http.headers?.request, http.headers?.response),
    typedPerFilterConfig: filterConfigs(http),
    metadata: {
      filterMetadata: {
        istio: { config: `VirtualService ${rule.namespace}/${rule.name}` },
      },
    },
  };
  if (http.redirect !== undefined) {
    const value = redirectAction(http.redirect, scope.port);
    return create(RouteSchema, { ...route, action: { case: "redirect", value } });
  }
  if (http.directResponse !== undefined) {
    const value = directResponse(http.directResponse);
    return create(RouteSchema, { ...route, action: { case: "directResponse", value } });
  }
  const destinations = (http.route ?? []).filter(isUsed);
  const first = destinations[0]?.destination.host ?? "";
  return create(RouteSchema, {
    ...route,
    decorator: { operation: `${resolveHost(context.view.model, first, rule.namespace)}/*` },
    action: { case: "route", value: forwardAction(context, destinations) },
  });
}

/** One destination counts whatever its weight; of several, those with a weight. */
function isUsed(one: RouteDestination, _: number, all: readonly RouteDestination[]): boolean {
  return all.length === 1 || (one.weight ?? 0) > 0;
}

function filterConfigs(http: HttpRoute): Record<string, Any> {
  return {
    ...(http.fault === undefined ? {} : { "envoy.filters.http.fault": faultConfig(http.fault) }),
    ...(http.corsPolicy === undefined
      ? {}
      : { "envoy.filters.http.cors": corsConfig(http.corsPolicy) }),
  };
}

function forwardAction(
  context: RouteContext,
  destinations: readonly RouteDestination[],
): ActionInit {
  const { view, rule, scope, http } = context;
  const hashes = destinations.flatMap(({ destination }) => hashPolicies(context, destination));
  // As in Istio, of several destinations none counts as hashed.
  const isHashed = hashes.length > 0 && http.route?.length === 1;
  const retry = retryPolicy(http.retries, view.model.settings.defaultRetry, isHashed);
  const mirrors: readonly MirrorPolicy[] =
    http.mirrors ??
    (http.mirror === undefined
      ? []
      : [{ destination: http.mirror, percentage: http.mirrorPercentage ?? 100 }]);
  return {
    ...clusterFields(context, destinations),
    ...rewriteFields(http),
    ...timeoutFields(http.timeout ?? 0),
    ...(retry === undefined ? {} : { retryPolicy: retry }),
    hashPolicy: hashes,
    requestMirrorPolicies: mirrors.map(({ destination, percentage }) => ({
      cluster: clusterOf(view, destination, rule.namespace, scope.port),
      runtimeFraction: { defaultValue: fractionalPercent(percentage ?? 100) },
    })),
  };
}

/** Of calls of gRPC their own deadline counts, which the route's timeout bounds; 0 is none. */
function timeoutFields(timeoutMs: number): ActionInit {
  return { timeout: duration(timeoutMs), maxGrpcTimeout: duration(timeoutMs) };
}

function clusterFields(
  context: RouteContext,
  destinations: readonly RouteDestination[],
): ActionInit {
  const { view, rule, scope } = context;
  const nameOf = (destination: Destination): string =>
    clusterOf(view, destination, rule.namespace, scope.port);
  const only = destinations[0];
  if (destinations.length === 1 && only !== undefined && only.headers === undefined) {
    return { clusterSpecifier: { case: "cluster", value: nameOf(only.destination) } };
  }
  const clusters = destinations.map(({ destination, weight, headers }) => ({
    name: nameOf(destination),
    weight: destinations.length === 1 ? 100 : (weight ?? 0),
    ...headerFields(headers?.request, headers?.response),
    ...hostRewrite(authorityFrom(headers?.request)),
  }));
  return { clusterSpecifier: { case: "weightedClusters", value: { clusters } } };
}

function hostRewrite(authority: string | undefined): {
  readonly hostRewriteSpecifier?: { readonly case: "hostRewriteLiteral"; readonly value: string };
} {
  return authority === undefined
    ? {}
    : { hostRewriteSpecifier: { case: "hostRewriteLiteral", value: authority } };
}

function rewriteFields(http: HttpRoute): ActionInit {
  const { rewrite } = http;
  const regex = rewrite?.uriRegexRewrite;
  return {
    ...(rewrite?.uri === undefined ? {} : { prefixRewrite: rewrite.uri }),
    ...(regex === undefined
      ? {}
      : { regexRewrite: { pattern: { regex: regex.match }, substitution: regex.rewrite } }),
    ...hostRewrite(rewrite?.authority ?? authorityFrom(http.headers?.request)),
  };
}

/** A destination's cluster; of a service that does not exist, the name it would have. */
export function clusterOf(
  view: ClientView,
  destination: Destination,
  ruleNamespace: string,
  listenerPort: number | undefined,
): string {
  const hostname = resolveHost(view.model, destination.host, ruleNamespace);
  const service = view.model.services.get(hostname);
  const port = destination.port?.number ?? defaultPort(service, listenerPort);
  return outboundClusterName(hostname, port, destination.subset);
}

/** The service's only port, else the one the caller asked for. */
function defaultPort(service: ServiceShape | undefined, listenerPort: number | undefined): number {
  const ports = service?.ports ?? [];
  const [only] = ports;
  if (ports.length === 1 && only !== undefined) return only.number;
  if (listenerPort !== undefined) return listenerPort;
  return only?.number ?? 80;
}

function hashPolicies(
  { view, rule, scope }: RouteContext,
  destination: Destination,
): Init<typeof RouteAction_HashPolicySchema>[] {
  const hostname = resolveHost(view.model, destination.host, rule.namespace);
  const service = view.model.services.get(hostname);
  if (service === undefined) return [];
  const found = destinationRuleFor(view.model, service, view.proxy);
  const subset = found?.subsets.find((one) => one.subset.name === destination.subset)?.subset;
  const port = destination.port?.number ?? defaultPort(service, scope.port);
  return hashPolicy(policyFor(found, subset, port).loadBalancer?.consistentHash);
}

export function hashPolicy(
  hash: ConsistentHash | undefined,
): Init<typeof RouteAction_HashPolicySchema>[] {
  if (hash?.httpHeaderName !== undefined) {
    const value = { headerName: hash.httpHeaderName };
    return [{ policySpecifier: { case: "header", value } }];
  }
  if (hash?.httpCookie !== undefined) {
    const { name, path = "", ttl } = hash.httpCookie;
    const value = { name, path, ...(ttl === undefined ? {} : { ttl: duration(ttl) }) };
    return [{ policySpecifier: { case: "cookie", value } }];
  }
  if (hash?.useSourceIp === true) {
    return [{ policySpecifier: { case: "connectionProperties", value: { sourceIp: true } } }];
  }
  if (hash?.httpQueryParameterName !== undefined) {
    const value = { name: hash.httpQueryParameterName };
    return [{ policySpecifier: { case: "queryParameter", value } }];
  }
  return [];
}

/**
 * What a service without a VirtualService gets: Istio's defaults, no timeout, two retries, which as in
 * Istio go to other endpoints even where a hash has chosen the first.
 */
export function defaultRoute(view: ClientView, service: ServiceShape, port: MeshPort): Route {
  const rule = destinationRuleFor(view.model, service, view.proxy);
  const hashes = hashPolicy(policyFor(rule, undefined, port.number).loadBalancer?.consistentHash);
  const retry = retryPolicy(undefined, view.model.settings.defaultRetry, false);
  return create(RouteSchema, {
    name: "default",
    match: anyPath(),
    decorator: { operation: `${service.hostname}:${port.number}/*` },
    action: {
      case: "route",
      value: {
        clusterSpecifier: {
          case: "cluster",
          value: outboundClusterName(service.hostname, port.number),
        },
        ...timeoutFields(0),
        hashPolicy: hashes,
        ...(retry === undefined ? {} : { retryPolicy: retry }),
      },
    },
  });
}
