/**
 * Envoy's `local_ratelimit` filter: refuses requests for which a token bucket has no token. The
 * threads of a process share the buckets, unless each connection has its own.
 */
import type { Clock } from "../../base/clock.ts";
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";
import { type RateLimitVerdict, RateLimiter } from "../engine/rate-limiter.ts";
import type { RatedClusters, RouteRateLimit, Usage } from "../engine/rate-limits.ts";
import { refuse } from "../engine/refusal.ts";
import type { ConnectionView } from "../engine/request.ts";
import { type BucketMemory, ownBuckets, type TokenBucket } from "../engine/token-bucket.ts";
import type { FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";
import { compileLocalRateLimit, type LocalRateLimitPlan } from "./local-rate-limit-plan.ts";

export class LocalRateLimitOverride {
  readonly plan: LocalRateLimitPlan;
  readonly key: string;
  /** Made for the first request. */
  limit: LocalLimit | undefined;

  constructor(plan: LocalRateLimitPlan, key: string) {
    this.plan = plan;
    this.key = key;
  }
}

/** `owner` names the place of the configuration for all threads alike. */
export function compileLocalRateLimitOverride(
  bytes: Uint8Array,
  path: string,
  owner: string,
): LocalRateLimitOverride {
  const plan = compileLocalRateLimit(bytes, path);
  if (plan.limiter.bucket === undefined) refuse(`${path}.token_bucket`, "is required on routes");
  return new LocalRateLimitOverride(plan, keyOf(owner, bytes));
}

export interface LocalRateLimitPlace {
  readonly name: string;
  readonly path: string;
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  readonly node: { readonly cluster?: string };
  /** Names the connection manager among all that the proxy has. */
  readonly owner: string;
  /** Of all threads; this one's own unless told. */
  readonly buckets?: BucketMemory;
}

/** One configuration at work. */
class LocalLimit {
  readonly plan: LocalRateLimitPlan;
  readonly counters: { readonly [name in CounterName]: Counter };
  readonly #key: string;
  readonly #buckets: BucketMemory;
  readonly #ownCluster: string;
  /** Made for the first request: a configuration that is only checked takes up no bucket. */
  #limiter: RateLimiter | undefined;
  readonly #connections = new WeakMap<ConnectionView, RateLimiter>();

  constructor(plan: LocalRateLimitPlan, key: string, place: LocalRateLimitPlace) {
    this.plan = plan;
    this.counters = countersOf(place.metrics, plan.statPrefix);
    this.#key = key;
    this.#buckets = place.buckets ?? ownBuckets;
    this.#ownCluster = place.node.cluster ?? "";
  }

  decide(stream: FilterStream, nowMs: number): RateLimitVerdict {
    const usages = this.#usages(stream);
    return this.#limiterOf(stream.request.connection, nowMs).decide(usages, nowMs);
  }

  #limiterOf(connection: ConnectionView, nowMs: number): RateLimiter {
    if (!this.plan.isPerConnection) {
      this.#limiter ??= new RateLimiter(this.plan.limiter, this.#buckets, {
        key: this.#key,
        nowMs,
      });
      return this.#limiter;
    }
    let own = this.#connections.get(connection);
    if (own === undefined) {
      own = new RateLimiter(this.plan.limiter, ownBuckets, { key: "", nowMs });
      this.#connections.set(connection, own);
    }
    return own;
  }

  #usages({ request, outcome, route }: FilterStream): readonly Usage[] {
    const { limits, limiter, hostLimits, stage } = this.plan;
    if (limiter.descriptors.length === 0 || outcome.kind === "no-route") return [];
    const target = outcome.kind === "forward" ? outcome.cluster : "";
    const clusters: RatedClusters = { own: this.#ownCluster, target };
    const usagesOf = (from: readonly RouteRateLimit[]): readonly Usage[] =>
      from.flatMap((limit) => limit.usage(request, clusters) ?? []);
    // They have no stage.
    if (limits.length > 0) return usagesOf(limits);
    // A redirect or an answer of the route's own has no limits in Envoy's eyes.
    if (outcome.kind !== "forward" || route?.rateLimits === undefined) return [];
    const { own, host, includesHost } = route.rateLimits;
    const takesHost =
      includesHost || hostLimits === "include" || (hostLimits === "override" && own.length === 0);
    const asked = takesHost ? [...own, ...host] : own;
    return usagesOf(asked.filter((limit) => limit.stage === stage));
  }
}

type CounterName = "enabled" | "enforced" | "limited" | "ok" | "shadow";

function countersOf(metrics: MetricRegistry, prefix: string): LocalLimit["counters"] {
  const counter = (name: string, help: string): Counter =>
    metrics.counter(`envoy_http_local_rate_limit_${name}`, help, {
      local_http_ratelimit_prefix: prefix,
    });
  return {
    enabled: counter("enabled", "Requests that a local rate limit looked at"),
    enforced: counter("enforced", "Requests that a local rate limit refused"),
    limited: counter("rate_limited", "Requests for which a local rate limit had no token"),
    ok: counter("ok", "Requests for which a local rate limit had a token"),
    shadow: counter("shadow_mode", "Requests for which a rate limit that only counts had no token"),
  };
}

/** Filters with the same configuration at the same place share their buckets, over all threads. */
function keyOf(owner: string, bytes: Uint8Array): string {
  return `${owner}\n${Buffer.from(bytes).toString("base64")}`;
}

export function createLocalRateLimitFilter(
  bytes: Uint8Array,
  place: LocalRateLimitPlace,
): HttpFilter {
  const plan = compileLocalRateLimit(bytes, place.path);
  const own = new LocalLimit(plan, keyOf(`${place.owner}/${place.path}`, bytes), place);
  const told = new WeakMap<FilterStream, TokenBucket>();
  const limitOf = (stream: FilterStream): LocalLimit => {
    const override = stream.override(place.name);
    if (!(override instanceof LocalRateLimitOverride)) return own;
    override.limit ??= new LocalLimit(override.plan, override.key, place);
    return override.limit;
  };
  return {
    name: place.name,
    onRequest(stream: FilterStream): FilterVerdict {
      const limit = limitOf(stream);
      const { counters } = limit;
      if (!isDrawn(limit.plan.enabled, stream)) return "continue";
      counters.enabled.add();
      const nowMs = place.clock.monotonicMs();
      const verdict = limit.decide(stream, nowMs);
      if (verdict.isShadow) counters.shadow.add();
      const { bucket, isTold = limit.plan.tellsLimits } = verdict;
      if (bucket !== undefined && isTold) told.set(stream, bucket);
      (verdict.isAllowed ? counters.ok : counters.limited).add();
      if (verdict.isAllowed) return "continue";
      return refuseRequest(stream, limit, verdict.bucket?.nextTokenMs(nowMs) ?? 0);
    },
    onResponse(stream: FilterStream): void {
      const bucket = told.get(stream);
      if (bucket === undefined) return;
      told.delete(stream);
      const nowMs = place.clock.monotonicMs();
      const { responseHeaders: headers } = stream;
      headers.add("x-ratelimit-limit", String(bucket.plan.tokensMax));
      headers.add("x-ratelimit-remaining", String(bucket.remaining(nowMs)));
      headers.add("x-ratelimit-reset", String(Math.ceil(bucket.nextTokenMs(nowMs) / 1000)));
    },
    onStreamEnd(stream: FilterStream): void {
      told.delete(stream);
    },
  };
}

function isDrawn(share: number, stream: FilterStream): boolean {
  return share >= 1 || (share > 0 && stream.random() < share);
}

function refuseRequest(
  stream: FilterStream,
  { plan, counters }: LocalLimit,
  nextTokenMs: number,
): FilterVerdict {
  if (!isDrawn(plan.enforced, stream)) {
    plan.editRequest?.(stream.request.headers, stream.request);
    return "continue";
  }
  counters.enforced.add();
  const { grpcStatus, status } = plan;
  if (plan.tellsRetryAfter) {
    stream.responseHeaders.set("retry-after", String(Math.ceil(nextTokenMs / 1000)));
  }
  plan.editResponse?.(stream.responseHeaders, stream.request);
  stream.reply("rate-limited", { status, ...(grpcStatus === undefined ? {} : { grpcStatus }) });
  return "answered";
}
