/** Which fields of HTTP filters that do not wait are honoured. */
import type { LocalRateLimit } from "../../wire/gen/ts/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.ts";
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
