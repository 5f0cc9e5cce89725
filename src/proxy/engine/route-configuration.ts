/** Compiles a RouteConfiguration into the table that decides where each request goes. */
import type { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import {
  VirtualHost_TlsRequirementType as TlsRequirement,
  type VirtualHost,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { compileFilterOverrides, type FilterOverrideCompilers } from "./filter-overrides.ts";
import { compileHeaderLevel } from "./header-operations.ts";
import { refuse } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { compileMirrors } from "./mirrors.ts";
import { compileRoute, type Level, type RouteEntry } from "./route-entry.ts";
import { plainRoute } from "./route-plain.ts";
import { compileRetryPolicy } from "./retry-policy.ts";
import type { CompiledRoute, RouteOutcome, RouteTable } from "./route-table.ts";
import { pathOf } from "./request-path.ts";
import { compileDomains } from "./virtual-hosts.ts";

interface HostEntry {
  readonly routes: readonly RouteEntry[];
  readonly tls: "none" | "external" | "all";
  readonly tlsRedirect: CompiledRoute;
}

const notFound: RouteOutcome = { kind: "no-route" };

/** Throws a refusal (`xds.refused`) that names the field which cannot be honoured. */
export function compileRouteConfiguration(
  config: RouteConfiguration,
  overrides: FilterOverrideCompilers,
): RouteTable {
  const bodyMax = config.maxDirectResponseBodySizeBytes ?? 4096;
  const table: Level = {
    headers: compileHeaderLevel(config, ""),
    filters: compileFilterOverrides(config.typedPerFilterConfig, overrides, ""),
    mirrors: compileMirrors(config.requestMirrorPolicies, "request_mirror_policies"),
  };
  const isReversed = config.mostSpecificHeaderMutationsWins;
  const domains = compileDomains(
    config.virtualHosts.map((host, i) => ({
      domains: host.domains,
      value: compileHost({
        host,
        path: `virtual_hosts[${i}]`,
        table,
        overrides,
        bodyMax,
        isReversed,
      }),
      path: `virtual_hosts[${i}]`,
    })),
    config.ignorePortInHostMatching,
  );
  return {
    name: config.name,
    resolve(request, random) {
      const host = domains.find(request.authority);
      if (host === undefined) return notFound;
      if (host.tls !== "none" && mustUseTls(host, request)) return redirectToTls(host, request);
      const path = pathOf(request.path);
      for (const route of host.routes) {
        if (route.matches(request, path, random)) return route.outcome(request, random);
      }
      return notFound;
    },
  };
}

interface HostInput {
  readonly host: VirtualHost;
  readonly path: string;
  readonly table: Level;
  readonly overrides: FilterOverrideCompilers;
  readonly bodyMax: number;
  readonly isReversed: boolean;
}

function compileHost(input: HostInput): HostEntry {
  const { host, path, overrides } = input;
  if (host.domains.length === 0) refuse(`${path}.domains`, "at least one is required");
  const retry =
    host.retryPolicy === undefined
      ? undefined
      : compileRetryPolicy(host.retryPolicy, `${path}.retry_policy`);
  const level: Level = {
    headers: compileHeaderLevel(host, `${path}.`),
    filters: compileFilterOverrides(host.typedPerFilterConfig, overrides, `${path}.`),
    mirrors: compileMirrors(host.requestMirrorPolicies, `${path}.request_mirror_policies`),
  };
  const context = {
    virtualHost: host,
    levels: [level, input.table],
    overrides,
    retry,
    directResponseBytesMax: input.bodyMax,
    isReversed: input.isReversed,
  };
  return {
    routes: host.routes.map((route, i) => compileRoute(route, context, `${path}.routes[${i}]`)),
    tls:
      host.requireTls === TlsRequirement.ALL
        ? "all"
        : host.requireTls === TlsRequirement.EXTERNAL_ONLY
          ? "external"
          : "none",
    tlsRedirect: plainRoute("", host.name),
  };
}

function mustUseTls(host: HostEntry, request: RequestView): boolean {
  if (request.scheme === "https") return false;
  return host.tls === "all" || request.header("x-envoy-internal") !== "true";
}

function redirectToTls(host: HostEntry, request: RequestView): RouteOutcome {
  const location = `https://${request.authority}${request.path}`;
  return { kind: "redirect", status: 301, location, route: host.tlsRedirect };
}
