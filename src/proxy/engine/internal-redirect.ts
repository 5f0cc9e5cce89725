/**
 * Redirects that the proxy follows itself (`internal_redirect_policy`): which answers, how often, and
 * to which routes. Where such an answer leads is read here; following it is the stream's business.
 */
import type { TypedExtensionConfig } from "../../wire/gen/ts/envoy/config/core/v3/extension.ts";
import {
  type InternalRedirectPolicy as Config,
  type RouteAction,
  RouteAction_InternalRedirectAction as Deprecated,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { AllowListedRoutesConfig } from "../../wire/gen/ts/envoy/extensions/internal_redirect/allow_listed_routes/v3/allow_listed_routes_config.ts";
import { refuse } from "./refusal.ts";
import { lowerAscii } from "./text-test.ts";

export interface RedirectPlan {
  readonly statuses: ReadonlySet<number>;
  /** Followed for one request at most. */
  readonly max: number;
  readonly crossesSchemes: boolean;
  /** Of the answer, in lower case: they take the place of the request's. */
  readonly headers: readonly string[];
  readonly predicates: readonly RedirectPredicate[];
}

export type RedirectPredicate =
  /** Routes of these names. */
  | { readonly kind: "allowed"; readonly names: ReadonlySet<string> }
  /** Routes that this one has not led to before. */
  | { readonly kind: "new" }
  /** Never from plaintext to TLS. */
  | { readonly kind: "safe-scheme" };

const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Undefined where answers pass as they are. */
export function compileRedirects(action: RouteAction, path: string): RedirectPlan | undefined {
  const config = action.internalRedirectPolicy;
  if (config !== undefined) return compile(config, `${path}.internal_redirect_policy`);
  if (action.internalRedirectAction !== Deprecated.HANDLE_INTERNAL_REDIRECT) return undefined;
  return { ...plain, max: action.maxInternalRedirects ?? 1 };
}

const plain: RedirectPlan = {
  statuses: new Set([302]),
  max: 1,
  crossesSchemes: false,
  headers: [],
  predicates: [],
};

function compile(config: Config, path: string): RedirectPlan {
  for (const [i, name] of config.responseHeadersToCopy.entries()) {
    if (!name.startsWith(":") && lowerAscii(name) !== "host") continue;
    refuse(`${path}.response_headers_to_copy[${i}]`, `'${name}' cannot be copied`);
  }
  const { redirectResponseCodes: codes } = config;
  if (codes.length > 5) refuse(`${path}.redirect_response_codes`, "must be at most 5");
  return {
    // As Envoy: what is no redirect counts for nothing.
    statuses:
      codes.length === 0
        ? plain.statuses
        : new Set(codes.filter((code) => redirectStatuses.has(code))),
    max: config.maxInternalRedirects ?? 1,
    crossesSchemes: config.allowCrossSchemeRedirect,
    headers: config.responseHeadersToCopy.map(lowerAscii),
    predicates: config.predicates.map((predicate, i) =>
      compilePredicate(predicate, `${path}.predicates[${i}].typed_config`),
    ),
  };
}

const predicates = "type.googleapis.com/envoy.extensions.internal_redirect.";

function compilePredicate(
  { typedConfig, name }: TypedExtensionConfig,
  path: string,
): RedirectPredicate {
  const typeUrl = typedConfig?.typeUrl ?? name;
  const bytes = typedConfig?.value ?? new Uint8Array(0);
  switch (typeUrl) {
    case `${predicates}allow_listed_routes.v3.AllowListedRoutesConfig`: {
      const { allowedRouteNames } = AllowListedRoutesConfig.decode(bytes);
      return { kind: "allowed", names: new Set(allowedRouteNames) };
    }
    case `${predicates}previous_routes.v3.PreviousRoutesConfig`:
      return { kind: "new" };
    case `${predicates}safe_cross_scheme.v3.SafeCrossSchemeConfig`:
      return { kind: "safe-scheme" };
    default:
      return refuse(path, `'${typeUrl}' is not supported`);
  }
}

/** Where an answer leads. */
export interface RedirectTarget {
  readonly scheme: "http" | "https";
  readonly authority: string;
  /** With the query, without a fragment. */
  readonly path: string;
}

/** Undefined for what is no absolute address of HTTP. */
export function redirectTarget(location: string): RedirectTarget | undefined {
  const match = /^(https?):\/\/([^/?#]+)([^#]*)/i.exec(location);
  const [, scheme = "", authority = "", rest = ""] = match ?? [];
  // What may stand in a request's target (RFC 3986), and no credentials.
  if (match === null || !/^[\x21-\x7e]+$/.test(location) || /[@\\]/.test(authority))
    return undefined;
  if (!/^(?:\[[0-9a-f:.]+\]|[^:[\]]+)(?::[0-9]{1,5})?$/i.test(authority)) return undefined;
  const isTls = lowerAscii(scheme) === "https";
  const standard = isTls ? ":443" : ":80";
  return {
    scheme: isTls ? "https" : "http",
    // As Envoy writes it.
    authority: authority.endsWith(standard) ? authority.slice(0, -standard.length) : authority,
    path: rest.startsWith("/") ? rest : `/${rest}`,
  };
}
