/** Which fields of HTTP filters that do not wait are honoured. */
import type { HeaderMutation as Mutation } from "../../wire/gen/ts/envoy/config/common/mutation_rules/v3/mutation_rules.ts";
import type {
  HeaderMutation,
  HeaderMutationPerRoute,
  Mutations,
} from "../../wire/gen/ts/envoy/extensions/filters/http/header_mutation/v3/header_mutation.ts";
import type { GrpcWeb } from "../../wire/gen/ts/envoy/extensions/filters/http/grpc_web/v3/grpc_web.ts";
import type { LocalRateLimit } from "../../wire/gen/ts/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.ts";
import type { StatefulSession } from "../../wire/gen/ts/envoy/extensions/filters/http/stateful_session/v3/stateful_session.ts";
import type { CookieBasedSessionState } from "../../wire/gen/ts/envoy/extensions/http/stateful_session/cookie/v3/cookie.ts";
import type { HeaderBasedSessionState } from "../../wire/gen/ts/envoy/extensions/http/stateful_session/header/v3/header.ts";
import type { FilterStateValue } from "../../wire/gen/ts/envoy/extensions/filters/common/set_filter_state/v3/value.ts";
import type { Config as HttpState } from "../../wire/gen/ts/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state.ts";
import type { Config as NetworkState } from "../../wire/gen/ts/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.ts";
import { honouredFormat } from "./honoured-extensions.ts";
import type { Honoured } from "./honoured.ts";

/** Shares of a limit among the proxies of one service are not known. */
export const honouredLocalRateLimit: Honoured<LocalRateLimit> = {
  statPrefix: true,
  status: true,
  tokenBucket: true,
  filterEnabled: true,
  filterEnforced: true,
  requestHeadersToAddWhenNotEnforced: true,
  responseHeadersToAdd: true,
  descriptors: { entries: true, tokenBucket: true, shadowMode: true },
  stage: true,
  localRateLimitPerDownstreamConnection: true,
  enableXRatelimitHeaders: true,
  vhRateLimits: true,
  alwaysConsumeDefaultTokenBucket: true,
  rateLimitedAsResourceExhausted: true,
  rateLimits: true,
  maxDynamicDescriptors: true,
  enableRetryAfterHeader: true,
};

const mutation: Honoured<Mutation> = { remove: true, append: true, removeOnMatch: true };
const mutations: Honoured<Mutations> = {
  requestMutations: mutation,
  queryParameterMutations: {
    append: { record: { key: true, value: true }, action: true },
    remove: true,
  },
  responseMutations: mutation,
  requestTrailersMutations: mutation,
  responseTrailersMutations: mutation,
};

export const honouredHeaderMutation: Honoured<HeaderMutation> = {
  mutations,
  mostSpecificHeaderMutationsWins: true,
};

export const honouredHeaderMutationPerRoute: Honoured<HeaderMutationPerRoute> = { mutations };

export const honouredStatefulSession: Honoured<StatefulSession> = {
  sessionState: true,
  strict: true,
};

export const honouredCookieSession: Honoured<CookieBasedSessionState> = {
  cookie: { name: true, ttl: true, path: true, attributes: true },
};

export const honouredHeaderSession: Honoured<HeaderBasedSessionState> = { name: true };

export const honouredStateValue: Honoured<FilterStateValue> = {
  objectKey: true,
  factoryKey: true,
  formatString: honouredFormat,
  // Envoy has no such state any more: what is set later stands.
  readOnly: true,
  sharedWithUpstream: true,
  skipIfEmpty: true,
};

export const honouredHttpState: Honoured<HttpState> = {
  onRequestHeaders: honouredStateValue,
  clearRouteCache: true,
};

/** Nothing is set when bytes come: what ends a chain has begun by then. */
export const honouredNetworkState: Honoured<NetworkState> = {
  onNewConnection: honouredStateValue,
  onDownstreamTlsHandshake: honouredStateValue,
};

/** It has no fields. */
export const honouredGrpcWeb: Honoured<GrpcWeb> = {};
