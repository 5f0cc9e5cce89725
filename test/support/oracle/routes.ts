/**
 * RouteConfiguration, interpreted: slow and obvious, straight from the messages, written from
 * Envoy's documentation. It shares no code with the engine, so that both do not err alike.
 */
import type { RequestView } from "../../../src/proxy/engine/request.ts";
import type { RouteConfiguration } from "../../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import {
  VirtualHost_TlsRequirementType as TlsRequirement,
  type RouteMatch,
  type VirtualHost,
} from "../../../src/wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { lower, matchesWhole, oracleBytes, oracleHeader, oracleText } from "./headers.ts";

/** `host#index` of the route that takes the request; `tls` for a redirect to HTTPS. */
export function oracleRoute(config: RouteConfiguration, request: RequestView): string {
  const host = virtualHostOf(config, request.authority);
  if (host === undefined) return "none";
  if (request.scheme !== "https") {
    const isInternal = request.header("x-envoy-internal") === "true";
    if (host.requireTls === TlsRequirement.ALL) return "tls";
    if (host.requireTls === TlsRequirement.EXTERNAL_ONLY && !isInternal) return "tls";
  }
  const index = host.routes.findIndex(
    ({ match }) => match !== undefined && routeFits(match, request),
  );
  return index < 0 ? "none" : `${host.name}#${index}`;
}

/** Exact, then the longest suffix, then the longest prefix, then the star. */
function virtualHostOf(config: RouteConfiguration, authority: string): VirtualHost | undefined {
  const name = lower(config.ignorePortInHostMatching ? withoutPort(authority) : authority);
  let best: VirtualHost | undefined;
  let bestRank = -1;
  for (const host of config.virtualHosts) {
    for (const domain of host.domains) {
      const rank = rankOf(lower(domain), name);
      if (rank > bestRank) [best, bestRank] = [host, rank];
    }
  }
  return best;
}

function rankOf(pattern: string, name: string): number {
  if (pattern === "*") return 0;
  if (pattern === name) return 3_000_000;
  const fixed = pattern.replace("*", "");
  if (pattern === fixed || name.length <= fixed.length) return -1;
  if (pattern.startsWith("*")) return name.endsWith(fixed) ? 2_000_000 + fixed.length : -1;
  return name.startsWith(fixed) ? 1_000_000 + fixed.length : -1;
}

function withoutPort(authority: string): string {
  const [, host, bare] = /^(?:(\[.*\]|[^:]*):[0-9]*|(.*))$/.exec(authority) ?? [];
  return host ?? bare ?? authority;
}

export function routeFits(match: RouteMatch, request: RequestView): boolean {
  return (
    pathFits(match, request) &&
    match.headers.every((header) => oracleHeader(header, request)) &&
    match.queryParameters.every((parameter) => {
      const value = queryOf(request.path).find(([key]) => key === parameter.name)?.[1];
      if (parameter.stringMatch !== undefined) {
        return value !== undefined && oracleText(parameter.stringMatch, value);
      }
      return (value !== undefined) === (parameter.presentMatch ?? true);
    }) &&
    match.cookies.every((cookie) => {
      const value = cookiesOf(request).find(([key]) => key === cookie.name)?.[1];
      const { stringMatch } = cookie;
      const holds =
        value !== undefined && stringMatch !== undefined && oracleBytes(stringMatch, value);
      return cookie.invertMatch ? !holds : holds;
    })
  );
}

function pathFits(match: RouteMatch, request: RequestView): boolean {
  if (match.connectMatcher !== undefined) return request.method === "CONNECT";
  if (request.method === "CONNECT") return false;
  const path = request.path.split(/[?#]/)[0] ?? "";
  if (path === "") return false;
  if (match.safeRegex !== undefined) return matchesWhole(match.safeRegex.regex, path);
  const fold = (text: string): string => (match.caseSensitive === false ? lower(text) : text);
  const here = fold(path);
  if (match.path !== undefined) return here === fold(match.path);
  if (match.prefix !== undefined) return here.startsWith(fold(match.prefix));
  const parent = fold(match.pathSeparatedPrefix ?? "");
  return here === parent || here.startsWith(`${parent}/`);
}

function queryOf(path: string): (readonly [string, string])[] {
  const query = /^[^?]*\?([^#]*)/.exec(path)?.[1];
  if (query === undefined) return [];
  return query.split("&").map((pair) => {
    const [, key = "", value = ""] = /^([^=]*)(?:=(.*))?$/s.exec(pair) ?? [];
    return [key, value];
  });
}

function cookiesOf(request: RequestView): (readonly [string, string])[] {
  const lines = request.lines?.("cookie") ?? [request.header("cookie") ?? ""];
  return lines
    .flatMap((line) => line.split(";"))
    .filter((pair) => pair.includes("="))
    .map((pair) => {
      const [, key = "", value = ""] = /^ *([^=]*)=(.*)$/s.exec(pair) ?? [];
      return [key, /^".*"$/s.test(value) ? value.slice(1, -1) : value];
    });
}
