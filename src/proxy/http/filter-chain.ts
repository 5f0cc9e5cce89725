/** Makes the HTTP filters of a connection manager from their configurations, in order. */
import { honouredForwardProxy } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import { HttpFilter as FilterConfig } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { FilterConfig as ForwardProxy } from "../../wire/gen/ts/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy.ts";
import type { Clock } from "../../base/clock.ts";
import type { Any } from "../../wire/gen/ts/google/protobuf/any.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { HeadLimits } from "../../wire/http1-head.ts";
import type { FilterOverrideCompilers } from "../engine/filter-overrides.ts";
import type { BucketMemory } from "../engine/token-bucket.ts";
import { refuse, RefusalList } from "../engine/refusal.ts";
import { alpnUrl } from "../istio/alpn.ts";
import { createPeerFilter, type OwnNode, peerMetadataType } from "../istio/peer-filter.ts";
import { statsUrl } from "../istio/stats.ts";
import { readTypedStruct } from "../istio/typed-struct.ts";
import { compileCorsOverride, createCorsFilter } from "./cors-filter.ts";
import { compileExtAuthzOverride, createExtAuthzFilter } from "./ext-authz-filter.ts";
import { compileFaultOverride, createFaultFilters } from "./fault-filter.ts";
import type { CallServices } from "./cluster-call.ts";
import type { FilterStream, HttpFilter } from "./filter.ts";
import {
  createFilterList,
  type ExtensionSource,
  type FilterList,
  type FilterSlot,
  missingFilter,
} from "./filter-list.ts";
import { createGrpcStatsFilter } from "./grpc-stats-filter.ts";
import { createGrpcWebFilter } from "./grpc-web-filter.ts";
import { compileJwtOverride, createJwtFilter } from "./jwt-filter.ts";
import { compileHeaderMutationOverride, createHeaderMutationFilter } from "./header-mutation.ts";
import { compileLocalRateLimitOverride, createLocalRateLimitFilter } from "./local-rate-limit.ts";
import { createRouterFilters, routerUrl } from "./router-options.ts";
import { compileStatefulSessionOverride, createStatefulSessionFilter } from "./stateful-session.ts";
import { compileStateOverride, createStateFilter } from "./set-filter-state.ts";
import { compileRbacOverride, createRbacFilter } from "./rbac-filter.ts";

const prefix = "type.googleapis.com/envoy.extensions.filters.http.";
const urls = {
  router: routerUrl,
  rbac: `${prefix}rbac.v3.RBAC`,
  rbacPerRoute: `${prefix}rbac.v3.RBACPerRoute`,
  jwt: `${prefix}jwt_authn.v3.JwtAuthentication`,
  jwtPerRoute: `${prefix}jwt_authn.v3.PerRouteConfig`,
  extAuthz: `${prefix}ext_authz.v3.ExtAuthz`,
  extAuthzPerRoute: `${prefix}ext_authz.v3.ExtAuthzPerRoute`,
  fault: `${prefix}fault.v3.HTTPFault`,
  cors: `${prefix}cors.v3.Cors`,
  corsPolicy: `${prefix}cors.v3.CorsPolicy`,
  headerMutation: `${prefix}header_mutation.v3.HeaderMutation`,
  headerMutationPerRoute: `${prefix}header_mutation.v3.HeaderMutationPerRoute`,
  session: `${prefix}stateful_session.v3.StatefulSession`,
  sessionPerRoute: `${prefix}stateful_session.v3.StatefulSessionPerRoute`,
  state: `${prefix}set_filter_state.v3.Config`,
  localRateLimit: `${prefix}local_ratelimit.v3.LocalRateLimit`,
  grpcStats: `${prefix}grpc_stats.v3.FilterConfig`,
  grpcWeb: `${prefix}grpc_web.v3.GrpcWeb`,
  forwardProxy: `${prefix}dynamic_forward_proxy.v3.FilterConfig`,
} as const;

/** What routes may say about filters (`typed_per_filter_config`), by type URL. */
export const filterOverrides: FilterOverrideCompilers = new Map<
  string,
  (config: Uint8Array, path: string, owner: string) => unknown
>([
  [urls.rbacPerRoute, compileRbacOverride],
  [urls.jwtPerRoute, compileJwtOverride],
  [urls.extAuthzPerRoute, compileExtAuthzOverride],
  [urls.fault, compileFaultOverride],
  [urls.corsPolicy, compileCorsOverride],
  [urls.headerMutationPerRoute, compileHeaderMutationOverride],
  [urls.sessionPerRoute, compileStatefulSessionOverride],
  [urls.localRateLimit, compileLocalRateLimitOverride],
  [urls.state, compileStateOverride],
]);

/** `first` pass before all of them. Throws a refusal for a filter that is not known, unless it is optional. The router must be last. */
export function compileFilters(
  configs: readonly FilterConfig[],
  services: FilterServices,
  first: readonly HttpFilter[] = [],
): FilterList {
  const refusals = new RefusalList();
  const last = configs.at(-1);
  if (last === undefined || !isRouter(last)) {
    refusals.add("http_filters", "must end with the router");
  }
  const slots = configs.map((config, index): FilterSlot | undefined => {
    const path = `http_filters[${index}]`;
    if (isRouter(config) && index !== configs.length - 1) {
      refusals.add(path, "the router must be last");
    }
    const isNamed = config.configDiscovery !== undefined;
    const place = { name: config.name, path: `${path}.typed_config`, isNamed, ...services };
    return refusals.attempt(() => compileSlot(config, path, place));
  });
  refusals.throwIfAny();
  const { extensions, log } = services;
  const made = slots.filter((slot) => slot !== undefined);
  return createFilterList([{ kind: "fixed", filters: first }, ...made], extensions, log);
}

/** Throws a refusal for what no filter can be made of that stands under a name. */
export function checkNamedFilter(config: Any, services: FilterServices): void {
  const named = FilterConfig.fromPartial({ typedConfig: config });
  compileFilter(named, "", { name: "", path: "typed_config", isNamed: true, ...services });
}

function isRouter({ typedConfig, configDiscovery }: FilterConfig): boolean {
  if (configDiscovery === undefined) return typedConfig?.typeUrl === urls.router;
  return configDiscovery.typeUrls.includes(urls.router);
}

/** These concern more than the requests that pass them, so they come with their listener. */
const boundTypes: ReadonlySet<string> = new Set([alpnUrl, statsUrl]);

function compileSlot(config: FilterConfig, path: string, place: Place): FilterSlot {
  const { configDiscovery: found, name } = config;
  if (found === undefined) return { kind: "fixed", filters: compileFilter(config, path, place) };
  const at = `${path}.config_discovery`;
  if (found.configSource === undefined) refuse(`${at}.config_source`, "is required");
  if (found.typeUrls.length === 0) refuse(`${at}.type_urls`, "at least one is required");
  const typeUrls = new Set(found.typeUrls);
  for (const [i, typeUrl] of found.typeUrls.entries()) {
    if (boundTypes.has(typeUrl)) refuse(`${at}.type_urls[${i}]`, "cannot stand under a name");
    if (typeUrl === urls.router && typeUrls.size > 1) {
      refuse(`${at}.type_urls[${i}]`, "a place in the chain is the router's or not");
    }
  }
  const compile = (typedConfig: Any): readonly HttpFilter[] =>
    compileFilter({ ...config, typedConfig, configDiscovery: undefined }, path, place);
  const { defaultConfig } = found;
  if (defaultConfig !== undefined && !typeUrls.has(defaultConfig.typeUrl)) {
    refuse(`${at}.default_config`, `'${defaultConfig.typeUrl}' is not among type_urls`);
  }
  if (defaultConfig === undefined && found.applyDefaultConfigWithoutWarming) {
    refuse(`${at}.apply_default_config_without_warming`, "there is no default_config");
  }
  const fallback = defaultConfig === undefined ? [missingFilter(name)] : compile(defaultConfig);
  return { kind: "named", name, typeUrls, fallback, compile };
}

/** What filters may need to ask others. */
export interface FilterServices extends CallServices {
  /** Names the connection manager among all that the proxy has. */
  readonly owner: string;
  readonly clock: Clock;
  readonly random: () => number;
  /** Token buckets that all threads share; a thread has its own unless told. */
  readonly buckets?: BucketMemory;
  readonly metrics: MetricRegistry;
  readonly statPrefix: string;
  /** Of requests. */
  readonly headLimits?: HeadLimits | undefined;
  readonly node: OwnNode;
  readonly extensions?: ExtensionSource;
  readonly log: Logger;
}

interface Place extends FilterServices {
  readonly name: string;
  /** Its configuration comes by name. */
  readonly isNamed: boolean;
  readonly path: string;
}

function compileFilter(config: FilterConfig, path: string, place: Place): readonly HttpFilter[] {
  const filters = compileEnabled(config, path, place);
  return config.disabled ? filters.map(offUnlessRouted) : filters;
}

/** A filter that is off where its route does not speak of it. */
function offUnlessRouted(filter: HttpFilter): HttpFilter {
  const isOn = (stream: FilterStream): boolean => stream.override(filter.name) !== undefined;
  const { onResponse, onRequestTrailers, onResponseTrailers, onStreamEnd, preparation } = filter;
  return {
    name: filter.name,
    preparation,
    onRequest: (stream) => (isOn(stream) ? filter.onRequest(stream) : "continue"),
    ...(onResponse === undefined
      ? {}
      : { onResponse: (stream) => isOn(stream) && onResponse(stream) }),
    ...(onRequestTrailers === undefined
      ? {}
      : { onRequestTrailers: (stream, to) => isOn(stream) && onRequestTrailers(stream, to) }),
    ...(onResponseTrailers === undefined
      ? {}
      : { onResponseTrailers: (stream, to) => isOn(stream) && onResponseTrailers(stream, to) }),
    ...(onStreamEnd === undefined ? {} : { onStreamEnd }),
  };
}

function compileEnabled(config: FilterConfig, path: string, place: Place): readonly HttpFilter[] {
  const { typedConfig } = config;
  if (typedConfig === undefined) return refuse(place.path, "is missing");
  const bytes = typedConfig.value;
  switch (typedConfig.typeUrl) {
    case urls.router:
      return createRouterFilters(bytes, place);
    case urls.rbac:
      return [createRbacFilter(bytes, place)];
    case urls.jwt:
      return [createJwtFilter(bytes, place)];
    case urls.extAuthz:
      return [createExtAuthzFilter(bytes, place)];
    case urls.fault:
      return createFaultFilters(bytes, place);
    case urls.cors:
      return [createCorsFilter(place)];
    case urls.session:
      return [createStatefulSessionFilter(bytes, place)];
    case urls.headerMutation:
      return [createHeaderMutationFilter(bytes, place)];
    case urls.state:
      return [createStateFilter(bytes, place)];
    case urls.localRateLimit:
      return [createLocalRateLimitFilter(bytes, place)];
    case urls.grpcStats:
      return [createGrpcStatsFilter(bytes, place)];
    case urls.grpcWeb:
      return [createGrpcWebFilter(bytes, place)];
    case urls.forwardProxy:
      // Envoy resolves names here, before the router; our clusters do when they connect.
      honoured(ForwardProxy.decode(bytes), honouredForwardProxy, place.path);
      return [];
    case alpnUrl:
    case statsUrl:
      // They concern connections to upstreams and the reports of streams: `http.ts` compiles them.
      return [];
    default:
      return compileUntyped(config, path, place);
  }
}

/** A filter of Istio's that comes without a schema. */
function compileUntyped(config: FilterConfig, path: string, place: Place): readonly HttpFilter[] {
  const typed = readTypedStruct(config.typedConfig);
  if (typed?.type === peerMetadataType) {
    return [createPeerFilter(config.name, typed.fields, place)];
  }
  const type = typed === undefined ? config.typedConfig?.typeUrl : typed.type;
  if (!config.isOptional) refuse(path, `'${type}' is not supported`);
  return [];
}

/** The first filter of a type that is not off, with its place. */
export function findFilter(
  configs: readonly FilterConfig[],
  typeUrl: string,
): { readonly bytes: Uint8Array; readonly path: string } | undefined {
  const at = configs.findIndex((one) => one.typedConfig?.typeUrl === typeUrl && !one.disabled);
  const bytes = configs[at]?.typedConfig?.value;
  return bytes === undefined ? undefined : { bytes, path: `http_filters[${at}].typed_config` };
}
