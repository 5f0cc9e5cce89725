/**
 * Cross-origin requests: Envoy's `cors` filter. Its policy stands on routes and virtual hosts, as
 * configuration of the filter or, where there is none, in fields of their own.
 */
import { honouredCors } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import { CorsPolicy } from "../../wire/gen/ts/envoy/extensions/filters/http/cors/v3/cors.ts";
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";
import { allowsOrigin, compileCors, type CorsRules, firstFlag, firstText } from "../engine/cors.ts";
import { LayeredOverride } from "../engine/filter-overrides.ts";
import type { FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";

export function compileCorsOverride(bytes: Uint8Array, path: string): LayeredOverride<CorsRules> {
  const policy = honoured(CorsPolicy.decode(bytes), honouredCors, path);
  return new LayeredOverride([compileCors(policy, path)]);
}

export interface CorsPlace {
  readonly name: string;
  readonly metrics: MetricRegistry;
  readonly statPrefix: string;
}

interface Admitted {
  readonly levels: readonly CorsRules[];
  readonly origin: string;
}

export function createCorsFilter({ name, metrics, statPrefix }: CorsPlace): HttpFilter {
  const counter = (what: string, help: string): Counter =>
    metrics.counter(`envoy_http_cors_${what}`, help, { http_conn_manager_prefix: statPrefix });
  const valid = counter("origin_valid", "Requests from an origin that a CORS policy allows");
  const invalid = counter("origin_invalid", "Requests from an origin that no CORS policy allows");
  /** Streams whose answers tell that their origin is allowed: whatever becomes of the field meanwhile. */
  const admitted = new Map<FilterStream, Admitted>();
  return {
    name,
    onRequest(stream: FilterStream): FilterVerdict {
      const levels = levelsOf(stream, name);
      const first = levels[0];
      if (first === undefined) return "continue";
      const origin = stream.request.header("origin") ?? "";
      if (origin === "") return "continue";
      const isEnabled = isDrawn(first.enabled, stream);
      if (!isEnabled && !isDrawn(first.shadowed, stream)) return "continue";
      const isAllowed = allowsOrigin(levels, origin);
      (isAllowed ? valid : invalid).add();
      if (!isEnabled) return "continue";
      if (isAllowed) admitted.set(stream, { levels, origin });
      if (!isPreflight(stream)) return "continue";
      if (!isAllowed && firstFlag(levels, "forwardsPreflights") !== false) return "continue";
      const headers = preflightHeaders(stream, levels);
      stream.reply("direct", { status: 200, details: "cors_response", headers });
      return "answered";
    },
    onResponse(stream: FilterStream): void {
      const found = admitted.size === 0 ? undefined : admitted.get(stream);
      if (found === undefined) return;
      admitted.delete(stream);
      const { levels, origin } = found;
      const { responseHeaders: headers } = stream;
      headers.set("access-control-allow-origin", origin);
      if (firstFlag(levels, "credentials") === true) {
        headers.set("access-control-allow-credentials", "true");
      }
      const exposed = firstText(levels, "exposed");
      if (exposed !== "") headers.set("access-control-expose-headers", exposed);
    },
    onStreamEnd(stream: FilterStream): void {
      if (admitted.size > 0) admitted.delete(stream);
    },
  };
}

const none: readonly CorsRules[] = [];

/** The fields of routes and virtual hosts count where no configuration of the filter stands there. */
function levelsOf(stream: FilterStream, name: string): readonly CorsRules[] {
  // As in Envoy, answers that need no cluster have no policy.
  if (stream.outcome.kind !== "forward") return none;
  const override = stream.override(name);
  if (override instanceof LayeredOverride) {
    // Of this filter's name, and so of its kind.
    return (override as LayeredOverride<CorsRules>).layers;
  }
  return stream.route?.cors ?? none;
}

function isDrawn(share: number, stream: FilterStream): boolean {
  return share >= 1 || (share > 0 && stream.random() < share);
}

function isPreflight({ request }: FilterStream): boolean {
  return request.method === "OPTIONS" && asked(request, "access-control-request-method") !== "";
}

function asked(request: FilterStream["request"], name: string): string {
  return request.header(name) ?? "";
}

/** The one that names the origin comes with the answer, as for every request from there. */
function preflightHeaders(
  { request }: FilterStream,
  levels: readonly CorsRules[],
): readonly (readonly [string, string])[] {
  const headers: (readonly [string, string])[] = [];
  const add = (name: string, value: string): void => {
    if (value !== "") headers.push([name, value]);
  };
  const isCredible = firstFlag(levels, "credentials") === true;
  add("access-control-allow-credentials", isCredible ? "true" : "");
  const methods = firstText(levels, "methods");
  add(
    "access-control-allow-methods",
    methods === "*" ? asked(request, "access-control-request-method") : methods,
  );
  const names = firstText(levels, "headers");
  add(
    "access-control-allow-headers",
    names === "*" ? asked(request, "access-control-request-headers") : names,
  );
  add("access-control-max-age", firstText(levels, "maxAge"));
  const isPrivate = asked(request, "access-control-request-private-network") === "true";
  if (isPrivate && firstFlag(levels, "privateNetwork") === true) {
    add("access-control-allow-private-network", "true");
  }
  return headers;
}
