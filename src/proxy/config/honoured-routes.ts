/** Which fields of routes are honoured. Compilers refuse what depends on a field's value. */
import type { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import type {
  RedirectAction,
  RetryPolicy,
  Route,
  RouteAction,
  RouteMatch,
  VirtualHost,
  WeightedCluster,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { honouredCors, honouredFormat } from "./honoured-extensions.ts";
import type { Honoured } from "./honoured.ts";

const headers = {
  requestHeadersToAdd: true,
  requestHeadersToRemove: true,
  responseHeadersToAdd: true,
  responseHeadersToRemove: true,
} as const;

const match: Honoured<RouteMatch> = {
  prefix: true,
  path: true,
  safeRegex: true,
  connectMatcher: true,
  pathSeparatedPrefix: true,
  pathMatchPolicy: true,
  caseSensitive: true,
  runtimeFraction: true,
  headers: true,
  queryParameters: true,
  cookies: true,
  grpc: true,
  tlsContext: true,
  dynamicMetadata: true,
  filterState: true,
};

const retryPolicy: Honoured<RetryPolicy> = {
  retryOn: true,
  numRetries: true,
  perTryTimeout: true,
  perTryIdleTimeout: true,
  retryHostPredicate: true,
  hostSelectionRetryMaxAttempts: true,
  retriableStatusCodes: true,
  retryBackOff: true,
  retryPriority: true,
  retriableHeaders: true,
  retriableRequestHeaders: true,
  rateLimitedRetryBackOff: {
    resetHeaders: { name: true, format: true },
    maxInterval: true,
  },
};

const hedgePolicy = {
  hedgeOnPerTryTimeout: true,
  initialRequests: "absent",
} as const;

const weightedClusters: Honoured<WeightedCluster> = {
  clusters: {
    name: true,
    weight: true,
    typedPerFilterConfig: true,
    hostRewriteLiteral: true,
    metadataMatch: { filterMetadata: true },
    ...headers,
  },
  // Deprecated; the weights are added up anyway.
  totalWeight: true,
  headerName: true,
  useHashPolicy: true,
  runtimeKeyPrefix: true,
};

/** For filters that limit rates; a kind of action that is not known is refused where it is compiled. */
const rateLimits = true;

const mirrors = {
  cluster: true,
  runtimeFraction: true,
  disableShadowHostSuffixAppend: true,
  hostRewriteLiteral: true,
  clusterHeader: true,
  requestHeadersMutations: { remove: true, append: true, removeOnMatch: true },
  traceSampled: true,
} as const;

const action: Honoured<RouteAction> = {
  cluster: true,
  clusterHeader: true,
  clusterSpecifierPlugin: "absent",
  weightedClusters,
  clusterNotFoundResponseCode: true,
  metadataMatch: { filterMetadata: true },
  prefixRewrite: true,
  regexRewrite: true,
  pathRewritePolicy: true,
  hostRewriteLiteral: true,
  hostRewrite: true,
  autoHostRewrite: true,
  hostRewriteHeader: true,
  hostRewritePathRegex: true,
  appendXForwardedHost: true,
  timeout: true,
  idleTimeout: true,
  retryPolicy,
  hedgePolicy,
  priority: true,
  internalRedirectPolicy: true,
  internalRedirectAction: true,
  maxInternalRedirects: true,
  requestMirrorPolicies: mirrors,
  cors: honouredCors,
  rateLimits,
  includeVhRateLimits: true,
  hashPolicy: true,
  upgradeConfigs: { upgradeType: true, enabled: true, connectConfig: {} },
  maxGrpcTimeout: true,
  maxStreamDuration: {
    maxStreamDuration: true,
    grpcTimeoutHeaderMax: true,
    grpcTimeoutHeaderOffset: true,
  },
};

const redirect: Honoured<RedirectAction> = {
  httpsRedirect: true,
  schemeRedirect: true,
  hostRedirect: true,
  portRedirect: true,
  pathRedirect: true,
  pathRewrite: "absent",
  prefixRewrite: true,
  regexRewrite: true,
  responseCode: true,
  stripQuery: true,
};

const route: Honoured<Route> = {
  perRequestBufferLimitBytes: true,
  requestBodyBufferLimit: true,
  name: true,
  match,
  route: action,
  redirect,
  directResponse: { status: true, body: true, bodyFormat: honouredFormat },
  nonForwardingAction: {},
  statPrefix: true,
  metadata: true,
  decorator: true,
  typedPerFilterConfig: true,
  ...headers,
};

const virtualHost: Honoured<VirtualHost> = {
  perRequestBufferLimitBytes: true,
  requestBodyBufferLimit: true,
  name: true,
  domains: true,
  routes: route,
  requireTls: true,
  typedPerFilterConfig: true,
  includeRequestAttemptCount: true,
  includeAttemptCountInResponse: true,
  retryPolicy,
  hedgePolicy,
  requestMirrorPolicies: mirrors,
  cors: honouredCors,
  rateLimits,
  metadata: true,
  ...headers,
};

/** The same tables, for messages that are checked one by one. */
export const honouredVirtualHost: Honoured<VirtualHost> = virtualHost;
export const honouredRoute: Honoured<Route> = route;

export const honouredRoutes: Honoured<RouteConfiguration> = {
  name: true,
  virtualHosts: virtualHost,
  mostSpecificHeaderMutationsWins: true,
  maxDirectResponseBodySizeBytes: true,
  // A cluster may come later than its routes.
  validateClusters: "zero",
  requestMirrorPolicies: mirrors,
  ignorePortInHostMatching: true,
  typedPerFilterConfig: true,
  metadata: true,
  ...headers,
};
