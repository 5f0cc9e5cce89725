/** One route: its match, and what its action makes of a request. */
import type { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import {
  type DirectResponseAction,
  type Route,
  type RouteAction,
  type VirtualHost,
  type WeightedCluster,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { type BodyFormat, compileBodyFormat } from "./body-format.ts";
import {
  compileFilterOverrides,
  type FilterOverrideCompilers,
  LayeredOverride,
} from "./filter-overrides.ts";
import { remainder } from "./consistent-hash.ts";
import { compileHeaderEdit } from "./header-edit.ts";
import { compileHeaderLevel, type HeaderChanges } from "./header-operations.ts";
import { compileRedirect } from "./redirect.ts";
import { refuse } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { compileActionSettings } from "./route-action.ts";
import type { PlannedMatch } from "./route-match.ts";
import { plainRoute } from "./route-plain.ts";
import type { CompiledRoute, RetryPolicy, RouteOutcome } from "./route-table.ts";
import { routeCriteria } from "./subsets.ts";
import { lowerAscii } from "./text-test.ts";

/** What a route makes of a request that it matches. */
export type Outcome = (request: RequestView, random: () => number) => RouteOutcome;

/** What one level of configuration (weighted cluster, route, virtual host, table) adds. */
export interface Level {
  readonly headers: HeaderChanges;
  readonly filters: ReadonlyMap<string, unknown>;
  readonly mirrors: CompiledRoute["mirrors"];
}

export interface RouteContext {
  readonly virtualHost: VirtualHost;
  /** Virtual host, then table. */
  readonly levels: readonly Level[];
  readonly overrides: FilterOverrideCompilers;
  /** Names table and virtual host. */
  readonly owner: string;
  /** The virtual host's, for routes without their own. */
  readonly retry: RetryPolicy | undefined;
  readonly directResponseBytesMax: number;
  /** The most specific header change is applied last, and so wins. */
  readonly isReversed: boolean;
}

export function compileOutcome(
  route: Route,
  match: PlannedMatch,
  context: RouteContext,
  path: string,
): Outcome {
  const own: Level = {
    headers: compileHeaderLevel(route, `${path}.`),
    filters: overridesOf(route, context, path),
    mirrors: [],
  };
  const levels = [own, ...context.levels];
  const base: CompiledRoute = {
    ...plainRoute(route.name, context.virtualHost.name),
    decoratorOperation:
      route.decorator === undefined || route.decorator.operation === ""
        ? undefined
        : route.decorator.operation,
    propagatesOperation: route.decorator?.propagate ?? true,
    metadata: route.metadata?.filterMetadata ?? {},
    virtualHostMetadata: context.virtualHost.metadata?.filterMetadata ?? {},
    ...(route.statPrefix === "" ? {} : { statPrefix: route.statPrefix }),
  };
  return compileAction({ route, match, base, levels, context, path });
}

function overridesOf(
  { typedPerFilterConfig }: Pick<Route, "typedPerFilterConfig">,
  { overrides, owner }: RouteContext,
  path: string,
): Level["filters"] {
  return compileFilterOverrides(typedPerFilterConfig, overrides, `${path}.`, `${owner}/${path}`);
}

interface ActionInput {
  readonly route: Route;
  readonly match: PlannedMatch;
  readonly base: CompiledRoute;
  readonly levels: readonly Level[];
  readonly context: RouteContext;
  readonly path: string;
}

function compileAction(input: ActionInput): Outcome {
  const { route, match, base, levels, context, path } = input;
  if (route.redirect !== undefined) {
    const redirect = compileRedirect(route.redirect, match, `${path}.redirect`);
    const compiled = withLevels(base, levels, context.isReversed);
    const outcome: RouteOutcome = { kind: "redirect", ...redirect, route: compiled };
    return () => outcome;
  }
  if (route.directResponse !== undefined) {
    const compiled = withLevels(base, levels, context.isReversed);
    const answer = compileDirectResponse(
      route.directResponse,
      context.directResponseBytesMax,
      `${path}.direct_response`,
    );
    const outcome: RouteOutcome = { kind: "direct-response", ...answer, route: compiled };
    return () => outcome;
  }
  if (route.nonForwardingAction !== undefined) {
    // No server of requests forwards it: as in Envoy, to a cluster that cannot be.
    const compiled = withLevels(base, levels, context.isReversed);
    const outcome: RouteOutcome = { kind: "forward", cluster: "", route: compiled };
    return () => outcome;
  }
  if (route.route === undefined) return refuse(path, "this kind of action is not supported");
  return compileForward(route.route, input);
}

function compileForward(action: RouteAction, input: ActionInput): Outcome {
  const { match, base, levels, context } = input;
  const path = `${input.path}.route`;
  const kept = keptBytesOf(input.route, context.virtualHost);
  const settings = {
    ...compileActionSettings(action, match, { ...context, base, path }),
    ...(kept === undefined ? {} : { keptBytes: kept }),
  };
  const weighted = action.weightedClusters;
  if (weighted !== undefined) {
    const { metadataMatch } = action;
    return compileWeighted(weighted, settings, { ...input, path, metadataMatch });
  }
  const compiled = withLevels(settings, levels, context.isReversed);
  if (action.cluster !== undefined) {
    if (action.cluster === "") refuse(`${path}.cluster`, "is empty");
    const outcome: RouteOutcome = { kind: "forward", cluster: action.cluster, route: compiled };
    return () => outcome;
  }
  if (action.clusterHeader !== undefined) {
    const name = lowerAscii(action.clusterHeader);
    return (request) => ({
      kind: "forward",
      cluster: request.header(name) ?? "",
      route: compiled,
    });
  }
  return refuse(path, "names no cluster in a way that is supported");
}

/** Of two fields the newer one wins, and of two levels the route. */
function keptBytesOf(route: Route, virtualHost: VirtualHost): CompiledRoute["keptBytes"] {
  const whole = route.requestBodyBufferLimit ?? virtualHost.requestBodyBufferLimit;
  if (whole !== undefined) return { max: Number(whole), isCapped: false };
  const max = route.perRequestBufferLimitBytes ?? virtualHost.perRequestBufferLimitBytes;
  return max === undefined ? undefined : { max, isCapped: true };
}

interface WeightedInput extends ActionInput {
  /** The action's own; a cluster's is added to it. */
  readonly metadataMatch: RouteAction["metadataMatch"];
}

function compileWeighted(
  weighted: WeightedCluster,
  settings: CompiledRoute,
  { levels, context, path, metadataMatch }: WeightedInput,
): Outcome {
  const place = `${path}.weighted_clusters`;
  let total = 0;
  const choices = weighted.clusters.map((cluster, i) => {
    const here = `${place}.clusters[${i}]`;
    if (cluster.name === "") refuse(`${here}.name`, "is required");
    const own: Level = {
      headers: compileHeaderLevel(cluster, `${here}.`),
      filters: overridesOf(cluster, context, here),
      mirrors: [],
    };
    const criteria = routeCriteria(metadataMatch, cluster.metadataMatch);
    const changed = {
      ...settings,
      ...(criteria === undefined ? {} : { criteria }),
      ...(cluster.hostRewriteLiteral === undefined
        ? {}
        : { hostRewrite: cluster.hostRewriteLiteral }),
    };
    const route = withLevels(changed, [own, ...levels], context.isReversed);
    const outcome: RouteOutcome = { kind: "forward", cluster: cluster.name, route };
    total += cluster.weight ?? 0;
    return { until: total, outcome };
  });
  if (total <= 0) refuse(place, "the weights add up to 0");
  const last = choices.findLast((choice, i) => choice.until > (choices[i - 1]?.until ?? 0));
  if (last === undefined) return refuse(place, "names no cluster");
  const header = weighted.headerName === undefined ? undefined : lowerAscii(weighted.headerName);
  const hashOf = weighted.useHashPolicy === true ? settings.hash : undefined;
  const pointOf: Point = (request, random) => {
    const given = header === undefined ? undefined : wholeNumber(request.header(header));
    if (given !== undefined) return Number(given % BigInt(total));
    const hash = hashOf?.(request);
    return hash === undefined ? random() * total : remainder(hash.hi, hash.lo, total);
  };
  return (request, random) => {
    const point = pointOf(request, random);
    for (const choice of choices) if (point < choice.until) return choice.outcome;
    return last.outcome;
  };
}

/** Where among the weights a request falls. */
type Point = (request: RequestView, random: () => number) => number;

/** Of 64 bits; what is none, or more, counts for nothing. */
function wholeNumber(text: string | undefined): bigint | undefined {
  if (text === undefined || !/^[0-9]{1,20}$/.test(text)) return undefined;
  const value = BigInt(text);
  return value < 1n << 64n ? value : undefined;
}

function withLevels(
  route: CompiledRoute,
  levels: readonly Level[],
  isReversed: boolean,
): CompiledRoute {
  const ordered = isReversed ? levels.toReversed() : levels;
  const filters = new Map<string, unknown>();
  for (const level of levels.toReversed()) {
    for (const [name, config] of level.filters) {
      const isLayered = config instanceof LayeredOverride;
      filters.set(name, isLayered ? config.over(filters.get(name)) : config);
    }
  }
  const mirrors = [route.mirrors, ...levels.map((level) => level.mirrors)];
  const requestHeaders = ordered.flatMap((level) => level.headers.request);
  const responseHeaders = ordered.flatMap((level) => level.headers.response);
  return {
    ...route,
    requestHeaders,
    responseHeaders,
    editRequest: compileHeaderEdit(requestHeaders),
    editResponse: compileHeaderEdit(responseHeaders),
    filterConfigs: filters,
    mirrors: mirrors.find((list) => list.length > 0) ?? [],
  };
}

function compileDirectResponse(
  action: DirectResponseAction,
  bytesMax: number,
  path: string,
): { readonly status: number; readonly body: Uint8Array; readonly format: BodyFormat | undefined } {
  if (action.status < 200 || action.status > 599) {
    refuse(`${path}.status`, `${action.status} is no final status`);
  }
  const body = action.body === undefined ? new Uint8Array(0) : inline(action.body, `${path}.body`);
  if (body.length > bytesMax) refuse(`${path}.body`, `is longer than ${bytesMax} bytes`);
  const format =
    action.bodyFormat === undefined
      ? undefined
      : compileBodyFormat(action.bodyFormat, `${path}.body_format`);
  return { status: action.status, body, format };
}

function inline(source: DataSource, path: string): Uint8Array {
  // A copy: a view would keep the whole message that it arrived in.
  if (source.inlineBytes !== undefined) return source.inlineBytes.slice();
  if (source.inlineString !== undefined) return new TextEncoder().encode(source.inlineString);
  return refuse(path, "only inline content is supported here");
}
