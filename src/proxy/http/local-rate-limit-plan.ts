/** Envoy's `local_ratelimit` filter: its configuration as plain, decided values. */
import { honouredLocalRateLimit } from "../config/honoured-http-filters.ts";
import { honoured } from "../config/honoured.ts";
import type { LocalRateLimitDescriptor } from "../../wire/gen/ts/envoy/extensions/common/ratelimit/v3/ratelimit.ts";
import {
  VhRateLimitsOptions as HostLimits,
  XRateLimitHeadersRFCVersion as HeadersVersion,
} from "../../wire/gen/ts/envoy/extensions/common/ratelimit/v3/ratelimit.ts";
import { LocalRateLimit } from "../../wire/gen/ts/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.ts";
import type { RuntimeFractionalPercent } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { TokenBucket } from "../../wire/gen/ts/envoy/type/v3/token_bucket.ts";
import { durationMs } from "../engine/duration.ts";
import { compileHeaderEdit, type HeaderEdit } from "../engine/header-edit.ts";
import { compileAdditions } from "../engine/header-operations.ts";
import type { DescriptorPlan, RateLimiterPlan } from "../engine/rate-limiter.ts";
import { compileOwnRateLimits, type RouteRateLimit } from "../engine/rate-limits.ts";
import { refuse } from "../engine/refusal.ts";
import { fractionOf } from "../engine/route-match.ts";
import type { BucketPlan } from "../engine/token-bucket.ts";

export interface LocalRateLimitPlan {
  readonly statPrefix: string;
  readonly limiter: RateLimiterPlan;
  /** Of requests, 0 to 1. */
  readonly enabled: number;
  readonly enforced: number;
  readonly status: number;
  readonly grpcStatus: number | undefined;
  readonly isPerConnection: boolean;
  readonly tellsLimits: boolean;
  readonly tellsRetryAfter: boolean;
  readonly editRequest: HeaderEdit | undefined;
  readonly editResponse: HeaderEdit | undefined;
  /** Of the filter itself; empty: routes say. */
  readonly limits: readonly RouteRateLimit[];
  readonly stage: number;
  readonly hostLimits: "override" | "include" | "ignore";
}

const fillIntervalMinMs = 50;
const resourceExhausted = 8;
/** Of no other status does Envoy say when to come again. */
const tooManyRequests = 429;

export function compileLocalRateLimit(bytes: Uint8Array, path: string): LocalRateLimitPlan {
  const config = honoured(LocalRateLimit.decode(bytes), honouredLocalRateLimit, path);
  if (config.statPrefix === "") refuse(`${path}.stat_prefix`, "is required");
  const { code } = config.status ?? { code: 0 };
  const status = code >= 400 && code <= 599 ? code : tooManyRequests;
  return {
    statPrefix: config.statPrefix,
    limiter: compileLimiter(config, path),
    enabled: share(config.filterEnabled),
    enforced: share(config.filterEnforced),
    status,
    grpcStatus: config.rateLimitedAsResourceExhausted ? resourceExhausted : undefined,
    isPerConnection: config.localRateLimitPerDownstreamConnection,
    tellsLimits: config.enableXRatelimitHeaders === HeadersVersion.DRAFT_VERSION_03,
    tellsRetryAfter: config.enableRetryAfterHeader && status === tooManyRequests,
    editRequest: compileHeaderEdit(
      compileAdditions(
        config.requestHeadersToAddWhenNotEnforced,
        `${path}.request_headers_to_add_when_not_enforced`,
      ),
    ),
    editResponse: compileHeaderEdit(
      compileAdditions(config.responseHeadersToAdd, `${path}.response_headers_to_add`),
    ),
    limits: compileOwnRateLimits(config.rateLimits, `${path}.rate_limits`),
    stage: config.stage,
    hostLimits: hostLimits(config.vhRateLimits),
  };
}

/** There is no runtime, so the default is the share; without one, Envoy leaves the filter off. */
function share(percent: RuntimeFractionalPercent | undefined): number {
  return percent?.defaultValue === undefined ? 0 : fractionOf(percent.defaultValue);
}

function hostLimits(option: HostLimits): LocalRateLimitPlan["hostLimits"] {
  if (option === HostLimits.INCLUDE) return "include";
  return option === HostLimits.IGNORE ? "ignore" : "override";
}

function compileLimiter(config: LocalRateLimit, path: string): RateLimiterPlan {
  const { tokenBucket, descriptors } = config;
  const known = new Set<string>();
  return {
    bucket:
      tokenBucket === undefined ? undefined : compileBucket(tokenBucket, `${path}.token_bucket`),
    descriptors: descriptors.map((descriptor, i) => {
      const place = `${path}.descriptors[${i}]`;
      const plan = compileDescriptor(descriptor, place);
      const text = JSON.stringify(plan.entries);
      if (known.has(text)) refuse(place, "stands here twice");
      known.add(text);
      return plan;
    }),
    alwaysTakesDefault: config.alwaysConsumeDefaultTokenBucket ?? true,
    dynamicMax: config.maxDynamicDescriptors ?? 20,
  };
}

function compileDescriptor(descriptor: LocalRateLimitDescriptor, path: string): DescriptorPlan {
  const { tokenBucket, entries, shadowMode } = descriptor;
  if (entries.length === 0) refuse(`${path}.entries`, "at least one is required");
  return {
    entries: entries.map(({ key, value }) => ({ key, value })),
    bucket:
      tokenBucket === undefined
        ? refuse(`${path}.token_bucket`, "is required")
        : compileBucket(tokenBucket, `${path}.token_bucket`),
    isShadow: shadowMode,
  };
}

function compileBucket(bucket: TokenBucket, path: string): BucketPlan {
  const fillIntervalMs = durationMs(bucket.fillInterval) ?? 0;
  if (fillIntervalMs < fillIntervalMinMs) {
    refuse(`${path}.fill_interval`, `must be at least ${fillIntervalMinMs} ms`);
  }
  if (bucket.maxTokens <= 0) refuse(`${path}.max_tokens`, "must be more than 0");
  const tokensPerFill = bucket.tokensPerFill ?? 1;
  if (tokensPerFill <= 0) refuse(`${path}.tokens_per_fill`, "must be more than 0");
  return { tokensMax: bucket.maxTokens, tokensPerFill, fillIntervalMs };
}
