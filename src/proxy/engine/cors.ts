/**
 * What routes say of requests from other origins. Levels are asked one after another, the most specific
 * first: each question is answered by the first that says anything of it, and whether the policy is in
 * force by the first alone. As Envoy's `cors` filter.
 */
import type { CorsPolicy as LegacyPolicy } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import type { RuntimeFractionalPercent } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { CorsPolicy } from "../../wire/gen/ts/envoy/extensions/filters/http/cors/v3/cors.ts";
import { fractionOf } from "./route-match.ts";
import { compileStringMatcher } from "./string-matcher.ts";
import type { TextPredicate } from "./text-test.ts";

/** Of one level. */
export interface CorsRules {
  /** Shares of the requests: for which it is in force, and for which it is only counted. */
  readonly enabled: number;
  readonly shadowed: number;
  /** Undefined where this level names no origin. */
  readonly isAllowed: TextPredicate | undefined;
  /** Empty texts say nothing. */
  readonly methods: string;
  readonly headers: string;
  readonly exposed: string;
  readonly maxAge: string;
  readonly credentials: boolean | undefined;
  readonly privateNetwork: boolean | undefined;
  readonly forwardsPreflights: boolean | undefined;
}

/** Both messages have the same fields. */
export function compileCors(policy: CorsPolicy | LegacyPolicy, path: string): CorsRules {
  const origins = policy.allowOriginStringMatch.map((matcher, index) =>
    compileStringMatcher(matcher, `${path}.allow_origin_string_match[${index}]`),
  );
  return {
    enabled: policy.filterEnabled === undefined ? 1 : shareOf(policy.filterEnabled),
    shadowed: policy.shadowEnabled === undefined ? 0 : shareOf(policy.shadowEnabled),
    isAllowed:
      origins.length === 0
        ? undefined
        : // A matcher that a lone asterisk passes is meant for everybody.
          (origin) => origins.some((matches) => matches("*") || matches(origin)),
    methods: policy.allowMethods,
    headers: policy.allowHeaders,
    exposed: policy.exposeHeaders,
    maxAge: policy.maxAge,
    credentials: policy.allowCredentials,
    privateNetwork: policy.allowPrivateNetworkAccess,
    forwardsPreflights: policy.forwardNotMatchingPreflights,
  };
}

function shareOf({ defaultValue }: RuntimeFractionalPercent): number {
  return defaultValue === undefined ? 0 : fractionOf(defaultValue);
}

/** The first text that says something; empty without one. */
export function firstText(
  levels: readonly CorsRules[],
  field: "methods" | "headers" | "exposed" | "maxAge",
): string {
  return levels.find((level) => level[field] !== "")?.[field] ?? "";
}

export function firstFlag(
  levels: readonly CorsRules[],
  field: "credentials" | "privateNetwork" | "forwardsPreflights",
): boolean | undefined {
  return levels.find((level) => level[field] !== undefined)?.[field];
}

export function allowsOrigin(levels: readonly CorsRules[], origin: string): boolean {
  return levels.find((level) => level.isAllowed !== undefined)?.isAllowed?.(origin) === true;
}
