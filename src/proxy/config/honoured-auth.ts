/** Which fields of the filters that ask who calls are honoured. */
import type {
  JwtAuthentication,
  JwtProvider,
  PerRouteConfig,
} from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import type {
  ExtAuthz,
  ExtAuthzPerRoute,
} from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import type { Honoured } from "./honoured.ts";

export const honouredJwtProvider: Honoured<JwtProvider> = {
  issuer: true,
  audiences: true,
  subjects: true,
  requireExpiration: true,
  maxLifetime: true,
  remoteJwks: {
    httpUri: { uri: true, cluster: true, timeout: true },
    cacheDuration: true,
    asyncFetch: { fastListener: true, failedRefetchDuration: true },
    retryPolicy: { retryBackOff: { baseInterval: true, maxInterval: true }, numRetries: true },
  },
  localJwks: {
    inlineString: true,
    inlineBytes: true,
    filename: "absent",
    environmentVariable: "absent",
  },
  forward: true,
  fromHeaders: true,
  fromParams: true,
  fromCookies: true,
  forwardPayloadHeader: true,
  padForwardPayloadHeader: true,
  payloadInMetadata: true,
  normalizePayloadInMetadata: true,
  headerInMetadata: true,
  failedStatusInMetadata: true,
  clockSkewSeconds: true,
  jwtCacheConfig: true,
  claimToHeaders: true,
  clearRouteCache: true,
};

export const honouredJwt: Honoured<JwtAuthentication> = {
  providers: true,
  rules: {
    // Envoy looks at no more of it here: what would narrow a rule further would open a door.
    match: {
      prefix: true,
      path: true,
      safeRegex: true,
      pathSeparatedPrefix: true,
      connectMatcher: true,
      caseSensitive: true,
      headers: true,
      queryParameters: true,
    },
    requires: true,
    requirementName: true,
  },
  filterStateRules: { name: true, requires: true },
  bypassCorsPreflight: true,
  requirementMap: true,
  stripFailureResponse: true,
  statPrefix: true,
};

export const honouredJwtPerRoute: Honoured<PerRouteConfig> = {
  disabled: true,
  requirementName: true,
};

const body = { maxRequestBytes: true, allowPartialMessage: true, packAsBytes: true } as const;

const authorizationResponse = {
  allowedUpstreamHeaders: true,
  allowedUpstreamHeadersToAppend: true,
  allowedClientHeaders: true,
  allowedClientHeadersOnSuccess: true,
  dynamicMetadataFromHeaders: true,
} as const;

/** Without conditions nothing is asked again, as in Envoy. */
const retryPolicy = {
  retryOn: true,
  retryBackOff: { baseInterval: true, maxInterval: true },
  numRetries: true,
} as const;

const grpcService = {
  envoyGrpc: { clusterName: true, authority: true, maxReceiveMessageLength: "absent" },
  timeout: true,
} as const;

export const honouredExtAuthz: Honoured<ExtAuthz> = {
  httpService: {
    // Of `uri` Envoy uses nothing either: the question has the request's host and path.
    serverUri: { uri: true, cluster: true, timeout: true },
    pathPrefix: true,
    pathOverride: true,
    authorizationRequest: { allowedHeaders: true, headersToAdd: true },
    authorizationResponse,
    retryPolicy,
  },
  grpcService,
  transportApiVersion: true,
  failureModeAllow: true,
  failureModeAllowHeaderAdd: true,
  // Bytes are sent as they are.
  withRequestBody: body,
  clearRouteCache: true,
  clearRouteCacheHeaders: true,
  statusOnError: true,
  // Names and values of headers are always validated.
  validateMutations: true,
  decoderHeaderMutationRules: {
    allowAllRouting: true,
    allowEnvoy: true,
    disallowSystem: true,
    disallowAll: true,
    allowExpression: { regex: true },
    disallowExpression: { regex: true },
    disallowIsError: true,
  },
  filterEnabled: true,
  filterEnabledMetadata: true,
  denyAtDisable: true,
  // These concern questions over gRPC.
  includePeerCertificate: true,
  includeTlsSession: true,
  encodeRawHeaders: true,
  metadataContextNamespaces: true,
  routeMetadataContextNamespaces: true,
  maxDeniedResponseBodyBytes: true,
  statPrefix: true,
  allowedHeaders: true,
  disallowedHeaders: true,
  enableDynamicMetadataIngestion: true,
  chargeClusterResponseStats: "absent",
  filterMetadata: "absent",
  emitClientSpan: "absent",
};

export const honouredExtAuthzPerRoute: Honoured<ExtAuthzPerRoute> = {
  disabled: true,
  // Context goes with questions over gRPC.
  checkSettings: {
    contextExtensions: true,
    disableRequestBodyBuffering: true,
    withRequestBody: body,
    grpcService,
    // Which headers it is told is the filter's to say.
    httpService: {
      serverUri: { uri: true, cluster: true, timeout: true },
      pathPrefix: true,
      pathOverride: true,
      authorizationRequest: { headersToAdd: true },
      authorizationResponse,
      retryPolicy,
    },
    emitClientSpan: "absent",
  },
};
