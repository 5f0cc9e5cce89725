import type { BodyFormat } from "./body-format.ts";
import type { CorsRules } from "./cors.ts";
import type { HeaderEdit } from "./header-edit.ts";
import type { RedirectPlan } from "./internal-redirect.ts";
import type { RouteRateLimit } from "./rate-limits.ts";
import type { RequestHash } from "./hash-policy.ts";
import type { TooCostly } from "./regex-substitution.ts";
import type { RequestView } from "./request.ts";
import type { SubsetCriteria } from "./subsets.ts";

/** A compiled RouteConfiguration: pure, immutable, swapped whole. */
export interface RouteTable {
  readonly name: string;
  /** `random` is uniform in [0, 1) and is asked only where a weight or fraction needs it. */
  resolve(request: RequestView, random: () => number): RouteOutcome;
}

export type RouteOutcome =
  /** No virtual host or no route: 404, flag NR, details `route_not_found`. */
  | { readonly kind: "no-route" }
  | {
      readonly kind: "redirect";
      readonly status: number;
      /** For the request as filters have left it; undefined where it has no path, as with CONNECT. */
      readonly location: (request: RequestView) => string | TooCostly | undefined;
      readonly route: CompiledRoute;
    }
  | {
      readonly kind: "direct-response";
      readonly status: number;
      readonly body: Uint8Array;
      /** Makes the body, where there is one. */
      readonly format: BodyFormat | undefined;
      readonly route: CompiledRoute;
    }
  | { readonly kind: "forward"; readonly cluster: string; readonly route: CompiledRoute };

/** What a matched route says about a request, with weighted-cluster, virtual-host and table levels merged. */
export interface CompiledRoute {
  readonly name: string;
  readonly virtualHost: string;
  /** Whole-request timeout, 0 = none. Starts when the request has been read; includes retries. */
  readonly timeoutMs: number;
  readonly idleTimeoutMs: number | undefined;
  readonly retry: RetryPolicy | undefined;
  /** New path and query for the upstream; returns its argument when nothing is rewritten. */
  rewritePath(path: string): string | TooCostly;
  /** New authority; undefined keeps it. */
  readonly hostRewrite: string | undefined;
  readonly appendXForwardedHost: boolean;
  /** What the edits below do, for people. */
  readonly requestHeaders: readonly HeaderOperation[];
  readonly responseHeaders: readonly HeaderOperation[];
  /** Undefined where nothing changes. */
  readonly editRequest: HeaderEdit | undefined;
  readonly editResponse: HeaderEdit | undefined;
  /** Lower-case protocols allowed by `Upgrade` (`websocket`) on top of the connection manager's. */
  readonly upgrades: ReadonlyMap<string, boolean>;
  readonly endsConnect: boolean;
  readonly decoratorOperation: string | undefined;
  /** False: the operation's name stays in this proxy's span. */
  readonly propagatesOperation?: boolean;
  /** Overrides of HTTP filters at this level, by filter name: compiled by the filter's own factory. */
  readonly filterConfigs: ReadonlyMap<string, unknown>;
  /** What its own fields say of other origins, and then its virtual host's; absent where neither does. */
  readonly cors?: readonly CorsRules[];
  /** The name under which requests are counted, beside their cluster's. */
  readonly statPrefix?: string;
  /** How many bytes of a request may be kept; absent: as many as its listener lets it. */
  readonly keptBytes?: KeptBytes;
  /** Limits and connections are those of priority HIGH. */
  readonly isHighPriority?: boolean;
  /** A try that takes its time goes on beside the next one. */
  readonly hedges?: boolean;
  /** Answers that are followed instead of passed on. */
  readonly redirects?: RedirectPlan;
  readonly hash: RequestHash | undefined;
  /** Which endpoints will do, where the cluster has subsets. */
  readonly criteria?: SubsetCriteria;
  readonly mirrors: readonly MirrorPlan[];
  /** An authority computed from the request; wins over `hostRewrite` when it gives one. */
  readonly hostRewriteFrom?: (request: RequestView) => string | TooCostly | undefined;
  /** Use the chosen endpoint's hostname, when it has one, as authority. */
  readonly autoHostRewrite?: boolean;
  readonly includeAttemptCount?: boolean;
  readonly includeAttemptCountInResponse?: boolean;
  /** Status when the cluster does not exist; 503 unless configured. */
  readonly clusterNotFoundStatus?: number;
  readonly maxStreamDurationMs?: number;
  /** For callers of gRPC, `grpc-timeout` up to this (0 = without limit) takes `timeoutMs`'s place. */
  readonly grpcTimeoutCapMs?: number;
  /** A `grpc-timeout` header counts up to this; 0 = without limit, undefined = it is ignored. */
  readonly grpcTimeoutMaxMs?: number;
  /** So much is taken off it, where something is left then. */
  readonly grpcTimeoutOffsetMs?: number;
  /** What requests are counted as where rates are limited; absent where nobody asks. */
  readonly rateLimits?: RouteRateLimits;
  /** Filter metadata of the route, for access logs (`%METADATA(ROUTE:…)%`). */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** The virtual host's (`%METADATA(VIRTUAL_HOST:…)%`). */
  readonly virtualHostMetadata?: Readonly<Record<string, unknown>>;
}

export interface KeptBytes {
  readonly max: number;
  /** More than its listener lets it is not kept. */
  readonly isCapped: boolean;
}

export interface MirrorPlan {
  readonly cluster: string;
  /** The header that names the cluster; absent where `cluster` does. */
  readonly clusterHeader?: string;
  /** Of the copy's headers. */
  readonly edit?: HeaderEdit;
  /** Whether the copy is traced from its server on; absent: where its request is. */
  readonly isSampled?: boolean;
  readonly fraction: number;
  /** The host of a copy ends in `-shadow`. */
  readonly marksHost: boolean;
  /** The host of a copy, before it is marked; empty keeps the request's. */
  readonly host: string;
}

export interface RouteRateLimits {
  readonly own: readonly RouteRateLimit[];
  /** Of the virtual host. */
  readonly host: readonly RouteRateLimit[];
  /** The host's count beside the route's, whatever a filter says. */
  readonly includesHost: boolean;
}

export type HeaderOperation =
  | {
      readonly kind: "set" | "add" | "add-if-absent" | "overwrite-if-exists";
      readonly name: string;
      readonly value: HeaderValue;
      /** A format that comes out empty still makes the header. */
      readonly keepsEmpty: boolean;
    }
  | { readonly kind: "remove"; readonly name: string }
  /** Those whose names, in lower case, pass. */
  | { readonly kind: "remove-matching"; readonly matches: (name: string) => boolean };

/** A literal, or a format whose `%COMMAND%`s are filled from the request. */
export type HeaderValue = string | ((request: RequestView) => string);

export interface RetryPolicy {
  readonly maxRetries: number;
  readonly perTryTimeoutMs: number;
  readonly avoidPreviousHosts: boolean;
  /** Endpoints that say in their metadata that they are canaries get no retries. */
  readonly avoidCanaries?: boolean;
  /** Whether a request is tried again at all; absent: each is. */
  readonly appliesTo?: (header: (name: string) => string | undefined) => boolean;
  readonly hostSelectionMaxAttempts: number;
  /** Retries keep away from priorities that were tried, from so many attempts on; 0: they do not. */
  readonly priorityFrequency?: number;
  readonly perTryIdleTimeoutMs?: number;
  /** Whether this outcome of an attempt may be tried again. */
  isRetriable(outcome: AttemptOutcome): boolean;
  /** Milliseconds before retry `n` (1 = first): full jitter, unless the answer says when. */
  backoffMs(n: number, random: () => number, after?: AnsweredAttempt): number;
}

export interface AnsweredAttempt {
  readonly outcome: AttemptOutcome;
  /** Wall clock. */
  readonly nowMs: number;
}

export type AttemptOutcome =
  | {
      readonly kind: "response";
      readonly status: number;
      readonly grpcStatus: number | undefined;
      header(name: string): string | undefined;
    }
  | { readonly kind: "connect-failure" }
  /** `isBeforeRequest`: nothing of the request had been handed to the upstream's application. */
  | {
      readonly kind: "reset";
      readonly isBeforeRequest: boolean;
      /** The endpoint says that it has done nothing for it. */
      readonly isRefused?: boolean;
      readonly isReusedConnection: boolean;
      readonly isIdempotent: boolean;
    }
  | { readonly kind: "per-try-timeout" }
  /** It goes on, and another may be made beside it. */
  | { readonly kind: "late" };
