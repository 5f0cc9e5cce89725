/** What a forwarding action says beside its cluster: rewrites, time limits, retries, upgrades. */
import {
  RouteAction_ClusterNotFoundResponseCode as NotFoundCode,
  type RouteAction,
  type VirtualHost,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { RoutingPriority } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { compileCors, type CorsRules } from "./cors.ts";
import { durationMs } from "./duration.ts";
import { compileHashPolicies } from "./hash-policy.ts";
import { compileRedirects } from "./internal-redirect.ts";
import { pathOf, splitPath } from "./request-path.ts";
import { compileRateLimits } from "./rate-limits.ts";
import { compileSubstitution, type TooCostly, tooCostly } from "./regex-substitution.ts";
import { refuse } from "./refusal.ts";
import { compileRetryPolicy } from "./retry-policy.ts";
import { compileMirrors } from "./mirrors.ts";
import { routeCriteria } from "./subsets.ts";
import { matchedLength, type PlannedMatch } from "./route-match.ts";
import type { CompiledRoute, RetryPolicy, RouteRateLimits } from "./route-table.ts";
import { lowerAscii } from "./text-test.ts";
import { compileTemplateRewrite } from "./uri-template.ts";

interface Surroundings {
  readonly base: CompiledRoute;
  readonly virtualHost: VirtualHost;
  readonly retry: RetryPolicy | undefined;
  readonly path: string;
}

/** Headers and filter overrides are merged over the levels afterwards. */
export function compileActionSettings(
  action: RouteAction,
  match: PlannedMatch,
  { base, virtualHost, retry, path }: Surroundings,
): CompiledRoute {
  const hostRewriteFrom = compileHostRewrite(action, path);
  const criteria = routeCriteria(action.metadataMatch);
  const maxStreamDurationMs = durationMs(action.maxStreamDuration?.maxStreamDuration);
  // Deprecated, and without effect beside max_stream_duration.
  const grpcTimeoutCapMs =
    action.maxStreamDuration === undefined ? durationMs(action.maxGrpcTimeout) : undefined;
  const redirects = compileRedirects(action, path);
  const hedges = hedgesOf(action, virtualHost);
  const cors = corsOf(action, virtualHost, path);
  const rateLimits = limitsOf(action, virtualHost, path);
  const grpcTimeoutMaxMs = durationMs(action.maxStreamDuration?.grpcTimeoutHeaderMax);
  const grpcTimeoutOffsetMs = durationMs(action.maxStreamDuration?.grpcTimeoutHeaderOffset);
  return {
    ...base,
    // As Envoy: the newer limit stands in place of the timeout, not beside it.
    timeoutMs: action.maxStreamDuration === undefined ? (durationMs(action.timeout) ?? 15_000) : 0,
    idleTimeoutMs: durationMs(action.idleTimeout),
    retry:
      action.retryPolicy === undefined
        ? retry
        : compileRetryPolicy(action.retryPolicy, `${path}.retry_policy`),
    rewritePath: compilePathRewrite(action, match, path),
    hostRewrite: action.hostRewriteLiteral ?? action.hostRewrite,
    appendXForwardedHost: action.appendXForwardedHost,
    endsConnect: endsConnect(action, path),
    upgrades: new Map(
      action.upgradeConfigs.map((upgrade) => [
        lowerAscii(upgrade.upgradeType),
        upgrade.enabled ?? true,
      ]),
    ),
    hash: compileHashPolicies(action.hashPolicy, `${path}.hash_policy`),
    mirrors: compileMirrors(action.requestMirrorPolicies, `${path}.request_mirror_policies`),
    autoHostRewrite: action.autoHostRewrite === true,
    includeAttemptCount: virtualHost.includeRequestAttemptCount,
    includeAttemptCountInResponse: virtualHost.includeAttemptCountInResponse,
    clusterNotFoundStatus: notFoundStatus(action.clusterNotFoundResponseCode),
    ...(action.priority === RoutingPriority.HIGH ? { isHighPriority: true } : {}),
    ...(hedges ? { hedges } : {}),
    ...(cors.length === 0 ? {} : { cors }),
    ...(redirects === undefined ? {} : { redirects }),
    ...(rateLimits === undefined ? {} : { rateLimits }),
    ...(criteria === undefined ? {} : { criteria }),
    ...(hostRewriteFrom === undefined ? {} : { hostRewriteFrom }),
    ...(maxStreamDurationMs === undefined ? {} : { maxStreamDurationMs }),
    ...(grpcTimeoutMaxMs === undefined ? {} : { grpcTimeoutMaxMs }),
    ...(grpcTimeoutOffsetMs === undefined ? {} : { grpcTimeoutOffsetMs }),
    ...(grpcTimeoutCapMs === undefined ? {} : { grpcTimeoutCapMs }),
  };
}

/** A tunnel that is asked for by CONNECT begins here, rather than be asked for again. */
function endsConnect({ upgradeConfigs }: RouteAction, path: string): boolean {
  const at = upgradeConfigs.findIndex(({ connectConfig }) => connectConfig !== undefined);
  const ending = upgradeConfigs[at];
  if (ending !== undefined && lowerAscii(ending.upgradeType) !== "connect") {
    refuse(`${path}.upgrade_configs[${at}].connect_config`, "is of CONNECT alone");
  }
  return ending !== undefined;
}

/** As Envoy: a route's policy takes the place of its virtual host's. */
function hedgesOf(action: RouteAction, virtualHost: VirtualHost): boolean {
  const policy = action.hedgePolicy ?? virtualHost.hedgePolicy;
  return policy?.hedgeOnPerTryTimeout === true;
}

function corsOf(action: RouteAction, virtualHost: VirtualHost, path: string): CorsRules[] {
  const levels: CorsRules[] = [];
  if (action.cors !== undefined) levels.push(compileCors(action.cors, `${path}.cors`));
  if (virtualHost.cors !== undefined) levels.push(compileCors(virtualHost.cors, "cors"));
  return levels;
}

/** The virtual host's are checked where it is: a path of its own would be of no route. */
function limitsOf(
  action: RouteAction,
  virtualHost: VirtualHost,
  path: string,
): RouteRateLimits | undefined {
  if (action.rateLimits.length === 0 && virtualHost.rateLimits.length === 0) return undefined;
  return {
    own: compileRateLimits(action.rateLimits, `${path}.rate_limits`),
    host: compileRateLimits(virtualHost.rateLimits, "rate_limits"),
    includesHost: action.includeVhRateLimits === true,
  };
}

function notFoundStatus(code: NotFoundCode): number {
  if (code === NotFoundCode.NOT_FOUND) return 404;
  return code === NotFoundCode.INTERNAL_SERVER_ERROR ? 500 : 503;
}

function compilePathRewrite(
  action: RouteAction,
  match: PlannedMatch,
  path: string,
): (path: string) => string | TooCostly {
  if (action.pathRewrite !== "") refuse(`${path}.path_rewrite`, "is not supported");
  if (action.pathRewritePolicy !== undefined) {
    const place = `${path}.path_rewrite_policy`;
    if (action.prefixRewrite !== "" || action.regexRewrite !== undefined) {
      refuse(place, "cannot stand beside another rewrite");
    }
    const rewrite = compileTemplateRewrite(action.pathRewritePolicy, match.template, place);
    return (text) => {
      const [part, query] = splitPath(text);
      const rewritten = rewrite(part);
      return rewritten === tooCostly ? rewritten : rewritten + query;
    };
  }
  if (action.prefixRewrite !== "") {
    if (action.regexRewrite !== undefined) {
      refuse(`${path}.regex_rewrite`, "cannot stand beside prefix_rewrite");
    }
    const target = action.prefixRewrite;
    return (text) => {
      const [place, query] = splitPath(text);
      return target + place.slice(matchedLength(match, place)) + query;
    };
  }
  if (action.regexRewrite !== undefined) {
    const rewrite = compileSubstitution(action.regexRewrite, `${path}.regex_rewrite`);
    return (text) => {
      const [place, query] = splitPath(text);
      const rewritten = rewrite(place);
      return rewritten === tooCostly ? rewritten : rewritten + query;
    };
  }
  return (text) => text;
}

function compileHostRewrite(action: RouteAction, path: string): CompiledRoute["hostRewriteFrom"] {
  if (action.hostRewriteHeader !== undefined) {
    const name = lowerAscii(action.hostRewriteHeader);
    return (request) => {
      const value = request.header(name);
      return value === undefined || value === "" ? undefined : value;
    };
  }
  if (action.hostRewritePathRegex !== undefined) {
    const rewrite = compileSubstitution(
      action.hostRewritePathRegex,
      `${path}.host_rewrite_path_regex`,
    );
    return (request) => rewrite(pathOf(request.path));
  }
  return undefined;
}
