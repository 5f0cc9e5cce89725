/** When an attempt may be made again, and after which pause: Envoy's `retry_on` conditions. */
import type { RetryPolicy as RetryConfig } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { PreviousPrioritiesConfig } from "../../wire/gen/ts/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.ts";
import { durationMs } from "./duration.ts";
import {
  compileHeaderMatchers,
  type HeaderLookup,
  type HeaderPredicate,
} from "./header-matcher.ts";
import { compileResets, type RateLimitResets, resetAfterMs } from "./rate-limit-resets.ts";
import { refuse } from "./refusal.ts";
import type { AttemptOutcome, RetryPolicy } from "./route-table.ts";
import { lowerAscii } from "./text-test.ts";

interface Settings {
  readonly conditions: ReadonlySet<string>;
  readonly grpcCodes: ReadonlySet<number>;
  readonly statuses: ReadonlySet<number>;
  readonly headers: readonly HeaderPredicate[];
  readonly maxRetries: number;
  readonly perTryTimeoutMs: number;
  readonly perTryIdleTimeoutMs: number;
  readonly avoidPreviousHosts: boolean;
  readonly avoidCanaries: boolean;
  /** Requests that no retry is made for, unless one of these says yes. */
  readonly requests: readonly HeaderPredicate[];
  readonly resets: RateLimitResets | undefined;
  /** Attempts after which priorities that were tried are left out; 0: they never are. */
  readonly priorityFrequency: number;
  readonly hostSelectionMaxAttempts: number;
  readonly baseMs: number;
  readonly maxMs: number;
}

const knownConditions: ReadonlySet<string> = new Set([
  "5xx",
  "gateway-error",
  "reset",
  "reset-before-request",
  "connect-failure",
  "envoy-ratelimited",
  "retriable-4xx",
  "refused-stream",
  "retriable-status-codes",
  "retriable-headers",
  "http3-post-connect-failure",
]);

const grpcConditions: Readonly<Record<string, number>> = {
  cancelled: 1,
  "deadline-exceeded": 4,
  internal: 13,
  "resource-exhausted": 8,
  unavailable: 14,
};

/** A word of `x-envoy-retry-on`. */
export function isRetryCondition(word: string): boolean {
  return knownConditions.has(word);
}

/** A word of `x-envoy-retry-grpc-on`. */
export function isGrpcRetryCondition(word: string): boolean {
  return Object.hasOwn(grpcConditions, word);
}

/** By the type of its configuration, or by name where it has none. */
const predicateKinds: ReadonlyMap<string, "previous" | "canaries"> = new Map([
  ["envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", "previous"],
  ["envoy.retry_host_predicates.previous_hosts", "previous"],
  ["envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate", "canaries"],
  ["envoy.retry_host_predicates.omit_canary_hosts", "canaries"],
]);
const gatewayErrors: ReadonlySet<number> = new Set([502, 503, 504]);
const retriesMax = 100;
const noNumbers: ReadonlySet<number> = new Set();

/** What lies behind each policy made here, so that request headers can change it. */
const settingsOf = new WeakMap<RetryPolicy, Settings>();

export function compileRetryPolicy(config: RetryConfig, path: string): RetryPolicy {
  // As Envoy, which has none of its own either.
  for (const [i, { name }] of config.retryOptionsPredicates.entries()) {
    refuse(`${path}.retry_options_predicates[${i}]`, `'${name}' is not known`);
  }
  const predicates = config.retryHostPredicate.map(({ name, typedConfig }, i) => {
    const type = typedConfig?.typeUrl.split("/").at(-1) ?? name;
    const kind = predicateKinds.get(type);
    return kind ?? refuse(`${path}.retry_host_predicate[${i}]`, `'${type}' is not supported`);
  });
  const baseMs = durationMs(config.retryBackOff?.baseInterval) ?? 25;
  const maxMs = durationMs(config.retryBackOff?.maxInterval) ?? baseMs * 10;
  if (baseMs <= 0 || maxMs < baseMs) {
    refuse(`${path}.retry_back_off`, "base_interval must be positive and at most max_interval");
  }
  return fromSettings({
    ...parseConditions(config.retryOn),
    statuses: new Set(config.retriableStatusCodes),
    headers: compileHeaderMatchers(config.retriableHeaders, `${path}.retriable_headers`),
    maxRetries: config.numRetries ?? 1,
    perTryTimeoutMs: durationMs(config.perTryTimeout) ?? 0,
    perTryIdleTimeoutMs: durationMs(config.perTryIdleTimeout) ?? 0,
    avoidPreviousHosts: predicates.includes("previous"),
    avoidCanaries: predicates.includes("canaries"),
    requests: compileHeaderMatchers(
      config.retriableRequestHeaders,
      `${path}.retriable_request_headers`,
    ),
    resets:
      config.rateLimitedRetryBackOff &&
      compileResets(config.rateLimitedRetryBackOff, `${path}.rate_limited_retry_back_off`),
    hostSelectionMaxAttempts: Math.max(1, Number(config.hostSelectionRetryMaxAttempts)),
    priorityFrequency: frequencyOf(config.retryPriority, `${path}.retry_priority`),
    baseMs,
    maxMs,
  });
}

const prioritiesUrl =
  "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";

function frequencyOf(config: RetryConfig["retryPriority"], path: string): number {
  if (config === undefined) return 0;
  const { typedConfig, name } = config;
  if (typedConfig?.typeUrl !== prioritiesUrl) {
    return refuse(`${path}.typed_config`, `'${typedConfig?.typeUrl ?? name}' is not supported`);
  }
  const { updateFrequency } = PreviousPrioritiesConfig.decode(typedConfig.value);
  if (updateFrequency < 1) refuse(`${path}.typed_config.update_frequency`, "must be at least 1");
  return updateFrequency;
}

/**
 * The policy for a request whose sender is trusted to control retries by `x-envoy-max-retries`,
 * `x-envoy-retry-on`, `x-envoy-retry-grpc-on`, `x-envoy-retriable-status-codes`,
 * `x-envoy-retriable-header-names` and `x-envoy-upstream-rq-per-try-timeout-ms`. Returns `base` itself when no such header is there.
 */
export function retryPolicyFor(
  base: RetryPolicy | undefined,
  header: HeaderLookup,
): RetryPolicy | undefined {
  const retryOn = header("x-envoy-retry-on");
  const retryGrpcOn = header("x-envoy-retry-grpc-on");
  const count = decimal(header("x-envoy-max-retries"));
  const perTryMs = decimal(header("x-envoy-upstream-rq-per-try-timeout-ms"));
  const statuses = header("x-envoy-retriable-status-codes");
  const names = header("x-envoy-retriable-header-names");
  const isChanged = retryOn !== undefined || retryGrpcOn !== undefined || count !== undefined;
  const isWider = statuses !== undefined || names !== undefined;
  if (!isChanged && perTryMs === undefined && !isWider) return base;
  const settings = base === undefined ? noRetries : (settingsOf.get(base) ?? noRetries);
  const asked = parseConditions([retryOn, retryGrpcOn].filter((text) => text !== undefined).join());
  const listed = (statuses ?? "").split(",").map((text) => decimal(text.trim()));
  return fromSettings({
    ...settings,
    conditions: settings.conditions.union(asked.conditions),
    grpcCodes: settings.grpcCodes.union(asked.grpcCodes),
    statuses: settings.statuses.union(new Set(listed.filter((code) => code !== undefined))),
    headers: [...settings.headers, ...headersNamed(names)],
    maxRetries: Math.min(retriesMax, count ?? Math.max(1, settings.maxRetries)),
    perTryTimeoutMs: perTryMs ?? settings.perTryTimeoutMs,
  });
}

/** Headers that are there, whatever they say. */
function headersNamed(names: string | undefined): readonly HeaderPredicate[] {
  return (names ?? "")
    .split(",")
    .map((name) => lowerAscii(name.trim()))
    .filter((name) => name !== "")
    .map((name) => (header) => header(name) !== undefined);
}

const noRetries: Settings = {
  conditions: new Set(),
  grpcCodes: noNumbers,
  statuses: noNumbers,
  headers: [],
  maxRetries: 0,
  perTryTimeoutMs: 0,
  perTryIdleTimeoutMs: 0,
  avoidPreviousHosts: false,
  avoidCanaries: false,
  requests: [],
  resets: undefined,
  priorityFrequency: 0,
  hostSelectionMaxAttempts: 1,
  baseMs: 25,
  maxMs: 250,
};

function decimal(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-9]{1,9}$/.test(text) ? Number(text) : undefined;
}

/** Unknown tokens are passed over, as Envoy does: lists written for newer proxies stay usable. */
function parseConditions(text: string): Pick<Settings, "conditions" | "grpcCodes"> {
  const conditions = new Set<string>();
  const grpcCodes = new Set<number>();
  for (const token of text.split(",").map((part) => part.trim())) {
    const code = grpcConditions[token];
    if (code !== undefined) grpcCodes.add(code);
    else if (knownConditions.has(token)) conditions.add(token);
  }
  return { conditions, grpcCodes };
}

function fromSettings(settings: Settings): RetryPolicy {
  const policy: RetryPolicy = {
    maxRetries: settings.maxRetries,
    perTryTimeoutMs: settings.perTryTimeoutMs,
    perTryIdleTimeoutMs: settings.perTryIdleTimeoutMs,
    avoidPreviousHosts: settings.avoidPreviousHosts,
    avoidCanaries: settings.avoidCanaries,
    hostSelectionMaxAttempts: settings.hostSelectionMaxAttempts,
    priorityFrequency: settings.priorityFrequency,
    isRetriable: (outcome) => isRetriable(outcome, settings),
    backoffMs: (n, random, after) => {
      const asked = settings.resets && after && resetAfterMs(settings.resets, after);
      // Asked for by the endpoint: not earlier, and not all at once.
      if (asked !== undefined) return asked * (1 + random() / 2);
      return random() * Math.min((2 ** Math.min(n, 30) - 1) * settings.baseMs, settings.maxMs);
    },
    ...(settings.requests.length === 0
      ? {}
      : { appliesTo: (header) => settings.requests.some((matches) => matches(header)) }),
  };
  settingsOf.set(policy, settings);
  return policy;
}

function isRetriable(outcome: AttemptOutcome, settings: Settings): boolean {
  const { conditions } = settings;
  const onAnyFailure = conditions.has("5xx") || conditions.has("gateway-error");
  switch (outcome.kind) {
    case "response":
      return isRetriableResponse(outcome, settings);
    case "connect-failure":
      return (
        onAnyFailure ||
        conditions.has("reset") ||
        conditions.has("reset-before-request") ||
        conditions.has("connect-failure")
      );
    case "reset":
      return (
        onAnyFailure ||
        conditions.has("reset") ||
        (outcome.isRefused === true && conditions.has("refused-stream")) ||
        (outcome.isBeforeRequest && conditions.has("reset-before-request"))
      );
    // As Envoy: whatever the conditions, if there is any; without one it never tries again.
    case "late":
      return conditions.size > 0 || settings.grpcCodes.size > 0;
    case "per-try-timeout":
      return onAnyFailure || conditions.has("reset");
  }
}

/** Apart from the rest, which most answers pass without a closure. */
function hasRetriableHeader(
  outcome: Extract<AttemptOutcome, { kind: "response" }>,
  settings: Settings,
): boolean {
  const header: HeaderLookup = (name) => outcome.header(name);
  return settings.headers.some((matches) => matches(header));
}

function isRetriableResponse(
  outcome: Extract<AttemptOutcome, { kind: "response" }>,
  settings: Settings,
): boolean {
  const { conditions, grpcCodes, statuses } = settings;
  if (outcome.header("x-envoy-ratelimited") !== undefined) {
    return conditions.has("envoy-ratelimited");
  }
  const { status, grpcStatus } = outcome;
  if (conditions.has("5xx") && status >= 500 && status < 600) return true;
  if (conditions.has("gateway-error") && gatewayErrors.has(status)) return true;
  if (conditions.has("retriable-4xx") && status === 409) return true;
  if (conditions.has("retriable-status-codes") && statuses.has(status)) return true;
  if (conditions.has("retriable-headers") && hasRetriableHeader(outcome, settings)) return true;
  return grpcStatus !== undefined && grpcCodes.has(grpcStatus);
}
