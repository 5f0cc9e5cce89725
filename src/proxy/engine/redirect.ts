/** Where a redirect points, computed as Envoy computes it. */
import {
  RedirectAction_RedirectResponseCode as Code,
  type RedirectAction,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { refuse } from "./refusal.ts";
import { compileSubstitution, type TooCostly, tooCostly } from "./regex-substitution.ts";
import { splitPath } from "./request-path.ts";
import type { RequestView } from "./request.ts";
import { matchedLength, type PlannedMatch } from "./route-match.ts";
import type { RouteOutcome } from "./route-table.ts";

export type Redirect = Pick<Extract<RouteOutcome, { kind: "redirect" }>, "status" | "location">;

const statuses: Readonly<Record<number, number>> = {
  [Code.MOVED_PERMANENTLY]: 301,
  [Code.FOUND]: 302,
  [Code.SEE_OTHER]: 303,
  [Code.TEMPORARY_REDIRECT]: 307,
  [Code.PERMANENT_REDIRECT]: 308,
};

export function compileRedirect(
  action: RedirectAction,
  match: PlannedMatch,
  path: string,
): Redirect {
  const status = statuses[action.responseCode];
  if (status === undefined) refuse(`${path}.response_code`, `${action.responseCode} is not known`);
  const newPath = compileRedirectPath(action, match, path);
  const scheme = action.httpsRedirect === true ? "https" : (action.schemeRedirect ?? "");
  const port = action.portRedirect === 0 ? "" : `:${action.portRedirect}`;
  return {
    status,
    location(request) {
      if (request.path === "") return undefined;
      const finalScheme = scheme === "" ? request.scheme : scheme;
      const host =
        action.hostRedirect === "" ? requestHost(request, finalScheme, port) : action.hostRedirect;
      const place = newPath(request.path);
      return place === tooCostly ? place : `${finalScheme}://${host}${port}${place}`;
    },
  };
}

/** The request's authority without a port that the redirect replaces or makes pointless. */
function requestHost(request: RequestView, scheme: string, newPort: string): string {
  const match = /^(.*?)(:[0-9]+)$/.exec(request.authority);
  const [, host = "", port = ""] = match ?? [];
  if (match === null || (host.includes(":") && !host.endsWith("]"))) return request.authority;
  const isPointless =
    scheme !== request.scheme &&
    ((request.scheme === "https" && port === ":443") ||
      (request.scheme === "http" && port === ":80"));
  return newPort !== "" || isPointless ? host : request.authority;
}

function compileRedirectPath(
  action: RedirectAction,
  match: PlannedMatch,
  path: string,
): (path: string) => string | TooCostly {
  if (action.pathRewrite !== undefined) refuse(`${path}.path_rewrite`, "is not supported");
  const strip = action.stripQuery;
  if (action.pathRedirect !== undefined && action.pathRedirect !== "") {
    const target = action.pathRedirect;
    if (target.includes("?")) return () => target;
    return (text) => (strip ? target : target + splitPath(text)[1]);
  }
  if (action.prefixRewrite !== undefined && action.prefixRewrite !== "") {
    const target = action.prefixRewrite;
    return (text) => {
      const [place, query] = splitPath(text);
      const rewritten = target + place.slice(matchedLength(match, place));
      return strip ? rewritten : rewritten + query;
    };
  }
  if (action.regexRewrite !== undefined) {
    const rewrite = compileSubstitution(action.regexRewrite, `${path}.regex_rewrite`);
    return (text) => {
      const [place, query] = splitPath(text);
      const rewritten = rewrite(place);
      return strip || rewritten === tooCostly ? rewritten : rewritten + query;
    };
  }
  return (text) => (strip ? splitPath(text)[0] : text);
}
