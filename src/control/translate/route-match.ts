/** HTTPMatchRequest as Envoy's RouteMatch, and whether a match concerns this proxy at all. */
import { create } from "@bufbuild/protobuf";

import type { PresenceMatch, StringMatch } from "../../model/matching.ts";
import { selects } from "../../model/matching.ts";
import type { HttpMatch } from "../../model/virtual-service.ts";
import type {
  HeaderMatcher,
  Route,
  RouteMatch,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import {
  HeaderMatcherSchema,
  RouteMatchSchema,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import type { Init } from "./proto.ts";
import { stringMatcher } from "./proto.ts";

/** Where a route table is used: decides which matches can hold there. */
export interface RouteScope {
  /** `mesh`, or the gateway's `<namespace>/<name>`. */
  readonly gateways: ReadonlySet<string>;
  /** Port the caller meant; undefined where the table serves several. */
  readonly port: number | undefined;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface SourceConditions {
  readonly port?: number;
  readonly gateways?: readonly string[];
  readonly sourceLabels?: Readonly<Record<string, string>>;
  readonly sourceNamespace?: string;
}

/** Whether the parts of a match that the proxy itself decides can hold in `scope`. */
export function isInScope(
  match: SourceConditions,
  ruleNamespace: string,
  scope: RouteScope,
): boolean {
  if (match.port !== undefined && scope.port !== undefined && match.port !== scope.port) {
    return false;
  }
  const { gateways = [] } = match;
  if (gateways.length > 0) {
    const names = gateways.map((name) =>
      name === "mesh" || name.includes("/") ? name : `${ruleNamespace}/${name}`,
    );
    if (!names.some((name) => scope.gateways.has(name))) return false;
    // As in Istio: a match that names a gateway says nothing else of who asks there.
    if (!scope.gateways.has("mesh")) return true;
  }
  if (match.sourceNamespace !== undefined && match.sourceNamespace !== scope.namespace) {
    return false;
  }
  return selects(match.sourceLabels, scope.labels);
}

export function anyPath(): RouteMatch {
  return create(RouteMatchSchema, { pathSpecifier: { case: "prefix", value: "/" } });
}

export function routeMatch(match: HttpMatch): RouteMatch {
  const pseudo: readonly (readonly [string, StringMatch | undefined])[] = [
    [":scheme", match.scheme],
    [":method", match.method],
    [":authority", match.authority],
  ];
  const headers = [
    ...Object.entries(match.headers ?? {}).map(([name, value]) => headerMatcher(name, value)),
    ...Object.entries(match.withoutHeaders ?? {}).map(([name, value]) => absentHeader(name, value)),
    ...pseudo.flatMap(([name, value]) => (value === undefined ? [] : headerMatcher(name, value))),
  ];
  return create(RouteMatchSchema, {
    ...pathFields(match.uri),
    ...(match.ignoreUriCase === true ? { caseSensitive: false } : {}),
    headers,
    queryParameters: Object.entries(match.queryParams ?? {}).map(([name, value]) => ({
      name,
      queryParameterMatchSpecifier:
        value.kind === "present"
          ? ({ case: "presentMatch", value: true } as const)
          : ({ case: "stringMatch", value: stringMatcher(value) } as const),
    })),
  });
}

function pathFields(uri: StringMatch | undefined): Init<typeof RouteMatchSchema> {
  if (uri === undefined) return { pathSpecifier: { case: "prefix", value: "/" } };
  switch (uri.kind) {
    case "exact":
      return { pathSpecifier: { case: "path", value: uri.value } };
    case "prefix":
      return { pathSpecifier: { case: "prefix", value: uri.value } };
    case "regex":
      return { pathSpecifier: { case: "safeRegex", value: { regex: uri.value } } };
  }
}

function headerMatcher(name: string, match: PresenceMatch): HeaderMatcher {
  return create(HeaderMatcherSchema, {
    name: name.toLowerCase(),
    headerMatchSpecifier:
      match.kind === "present"
        ? { case: "presentMatch", value: true }
        : { case: "stringMatch", value: stringMatcher(match) },
  });
}

/** Whether a route takes every request that comes to it, as Istio tells: by `/` or `.*` and nothing else. */
export function takesAll({ match }: Route): boolean {
  if (match === undefined) return false;
  const { pathSpecifier, headers, queryParameters, dynamicMetadata } = match;
  const isAnyPath =
    (pathSpecifier.case === "prefix" && pathSpecifier.value === "/") ||
    (pathSpecifier.case === "safeRegex" && pathSpecifier.value.regex === ".*");
  return (
    isAnyPath && [headers, queryParameters, dynamicMetadata].every(({ length }) => length === 0)
  );
}

/** `withoutHeaders`: a missing header satisfies it too. */
function absentHeader(name: string, match: PresenceMatch): HeaderMatcher {
  const matcher = headerMatcher(name, match);
  return create(HeaderMatcherSchema, {
    name: matcher.name,
    headerMatchSpecifier: matcher.headerMatchSpecifier,
    invertMatch: true,
    treatMissingHeaderAsEmpty: match.kind !== "present",
  });
}
