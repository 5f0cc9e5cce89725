/** Cross-origin requests: Envoy's `cors` filter. Its policy stands on routes and virtual hosts. */
import { honouredCors } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import { CorsPolicy } from "../../wire/gen/ts/envoy/extensions/filters/http/cors/v3/cors.ts";
import { refuse } from "../engine/refusal.ts";
import { fractionOf } from "../engine/route-match.ts";
import { compileStringMatcher } from "../engine/string-matcher.ts";
import type { TextPredicate } from "../engine/text-test.ts";
import type { FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";

export class CorsOverride {
  readonly origins: readonly TextPredicate[];
  readonly policy: CorsPolicy;

  constructor(policy: CorsPolicy, origins: readonly TextPredicate[]) {
    this.policy = policy;
    this.origins = origins;
  }
}

export function compileCorsOverride(bytes: Uint8Array, path: string): CorsOverride {
  const policy = honoured(CorsPolicy.decode(bytes), honouredCors, path);
  const enabled = policy.filterEnabled?.defaultValue;
  if (enabled !== undefined && fractionOf(enabled) < 1) {
    refuse(`${path}.filter_enabled`, "only 100 % is supported");
  }
  if (policy.shadowEnabled !== undefined) refuse(`${path}.shadow_enabled`, "is not supported");
  const origins = policy.allowOriginStringMatch.map((matcher, index) =>
    compileStringMatcher(matcher, `${path}.allow_origin_string_match[${index}]`),
  );
  return new CorsOverride(policy, origins);
}

export function createCorsFilter(name: string): HttpFilter {
  return {
    name,
    onRequest(stream: FilterStream): FilterVerdict {
      const override = stream.override(name);
      if (!(override instanceof CorsOverride)) return "continue";
      const { request } = stream;
      const { policy, origins } = override;
      const origin = request.header("origin");
      const isPreflight =
        request.method === "OPTIONS" &&
        request.header("access-control-request-method") !== undefined;
      if (origin === undefined || !isPreflight) return "continue";
      const isKnown = origins.some((matches) => matches(origin));
      if (!isKnown && policy.forwardNotMatchingPreflights !== false) return "continue";
      stream.reply("direct", {
        status: 200,
        details: "cors_response",
        headers: preflightHeaders(policy, isKnown ? origin : undefined),
      });
      return "answered";
    },
    onResponse(stream: FilterStream): void {
      const override = stream.override(name);
      if (!(override instanceof CorsOverride)) return;
      const origin = stream.request.header("origin");
      if (origin === undefined || !override.origins.some((matches) => matches(origin))) return;
      const { responseHeaders: headers } = stream;
      const { policy } = override;
      headers.set("access-control-allow-origin", origin);
      if (policy.allowCredentials === true) headers.set("access-control-allow-credentials", "true");
      if (policy.exposeHeaders !== "") {
        headers.set("access-control-expose-headers", policy.exposeHeaders);
      }
    },
  };
}

function preflightHeaders(
  policy: CorsPolicy,
  origin: string | undefined,
): readonly (readonly [string, string])[] {
  const headers: (readonly [string, string])[] = [];
  // Without it the rest permits nothing.
  if (origin !== undefined) headers.push(["access-control-allow-origin", origin]);
  if (policy.allowCredentials === true) headers.push(["access-control-allow-credentials", "true"]);
  if (policy.allowMethods !== "") {
    headers.push(["access-control-allow-methods", policy.allowMethods]);
  }
  if (policy.allowHeaders !== "") {
    headers.push(["access-control-allow-headers", policy.allowHeaders]);
  }
  if (policy.maxAge !== "") headers.push(["access-control-max-age", policy.maxAge]);
  return headers;
}
