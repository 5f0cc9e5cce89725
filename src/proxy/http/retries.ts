/** Whether, and when, a request is tried again: the route's policy, the cluster's limit, the race of pools. */
import type { ClusterPart, ProxyContext, UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import { PreviousPriorities } from "../engine/previous-priorities.ts";
import type { AttemptOutcome, RetryPolicy } from "../engine/route-table.ts";
import { retryPolicyFor } from "../engine/retry-policy.ts";
import type { HttpRequest } from "./http-request.ts";
import { flag } from "./response-flags.ts";
import type { StreamRecord } from "./stream-record.ts";

/** May happen twice (RFC 9110 section 9.2.2). */
export const idempotentMethods: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "OPTIONS",
  "TRACE",
  "PUT",
  "DELETE",
]);

export class Retries {
  /** Retries made for the stream. */
  count = 0;
  #cluster: UpstreamCluster | undefined;
  #policy: RetryPolicy | undefined;
  #tried: Set<UpstreamEndpoint> | undefined;
  #priorities: PreviousPriorities | undefined;
  #hasResent = false;
  /** One of the cluster's concurrent retries is ours. */
  #hasPermit = false;

  reset(cluster: UpstreamCluster, policy: RetryPolicy | undefined): void {
    this.count = 0;
    this.#cluster = cluster;
    this.#policy = policy;
    this.#tried = undefined;
    const frequency = policy?.priorityFrequency ?? 0;
    this.#priorities = frequency > 0 ? new PreviousPriorities(frequency) : undefined;
    this.#hasResent = false;
  }

  /** The next attempt must not trust a connection that was used before: its pool has just failed it. */
  get wantsFreshConnection(): boolean {
    return this.#hasResent;
  }

  /** Which endpoints to keep away from; the first attempt may go anywhere. */
  get avoided(): ((endpoint: UpstreamEndpoint) => boolean) | undefined {
    if (this.count === 0) return undefined;
    const avoidsCanaries = this.#policy?.avoidCanaries === true;
    return this.#tried === undefined && !avoidsCanaries ? undefined : this.#isUnwanted;
  }

  readonly #isUnwanted = (endpoint: UpstreamEndpoint): boolean =>
    this.#tried?.has(endpoint) === true ||
    (this.#policy?.avoidCanaries === true && endpoint.metadata["envoy.lb"]?.["canary"] === "true");

  /** How often another endpoint is drawn instead of one to keep away from. */
  get redrawsMax(): number {
    return this.#policy?.hostSelectionMaxAttempts ?? 1;
  }

  /** Where those have been that were made before; the first attempt may go anywhere. */
  get priorities(): PreviousPriorities | undefined {
    return this.count === 0 ? undefined : this.#priorities;
  }

  /** An attempt goes there. */
  onChosen(endpoint: UpstreamEndpoint, part: ClusterPart | undefined): void {
    const priority = part?.place ?? (endpoint.origin ?? endpoint).priority;
    this.#priorities?.onAttempt(priority === undefined ? {} : { priority });
    if (this.#policy?.avoidPreviousHosts !== true) return;
    (this.#tried ??= new Set()).add(endpoint.origin ?? endpoint);
  }

  /** The client gets an answer. */
  onAnswer(status: number): void {
    if (this.count > 0 && status < 500) this.#cluster?.counters.onRetrySuccess();
  }

  /** The stream, or its last retry, is over. */
  release(): void {
    if (!this.#hasPermit) return;
    this.#hasPermit = false;
    this.#cluster?.limits.releaseRetry();
  }

  /** Milliseconds until the next attempt; undefined when this outcome stands. Sets URX and UO. */
  next(
    outcome: AttemptOutcome,
    record: StreamRecord,
    { random, clock }: Pick<ProxyContext, "random" | "clock">,
  ): number | undefined {
    const policy = this.#policy;
    const cluster = this.#cluster;
    if (policy === undefined || cluster === undefined || !policy.isRetriable(outcome)) {
      return undefined;
    }
    if (this.count >= policy.maxRetries) {
      record.flags |= flag.upstreamRetryLimitExceeded;
      cluster.counters.count("upstream_rq_retry_limit_exceeded");
      return undefined;
    }
    this.release();
    if (!cluster.limits.tryRetry()) {
      record.flags |= flag.upstreamOverflow;
      return undefined;
    }
    this.#hasPermit = true;
    this.count++;
    cluster.counters.onRetry();
    return policy.backoffMs(this.count, random, { outcome, nowMs: clock.nowMs() });
  }

  /**
   * An endpoint that closes idle connections races with our pool. One request is sent again, without
   * a policy, if it may happen twice; the caller knows that not a byte of an answer came.
   */
  mayResend(outcome: AttemptOutcome): boolean {
    if (outcome.kind !== "reset" || !outcome.isReusedConnection || !outcome.isIdempotent) {
      return false;
    }
    if (this.#hasResent) return false;
    this.#hasResent = true;
    return true;
  }
}

const retryControls = [
  "x-envoy-retry-on",
  "x-envoy-retry-grpc-on",
  "x-envoy-max-retries",
  "x-envoy-retriable-header-names",
  "x-envoy-retriable-status-codes",
  "x-envoy-upstream-rq-per-try-timeout-ms",
] as const;

/** What applies to a request: the route's policy, as its sender may change it. */
export function retriesFor(
  request: HttpRequest,
  policy: RetryPolicy | undefined,
): RetryPolicy | undefined {
  const { headers } = request;
  if (policy?.appliesTo !== undefined && !isFor(request, policy.appliesTo)) return undefined;
  return request.isInternal ? askedRetries(headers, policy) : policy;
}

/** By itself, for its closure costs every call a context. */
function isFor(request: HttpRequest, appliesTo: NonNullable<RetryPolicy["appliesTo"]>): boolean {
  return appliesTo((name) => request.header(name));
}

/** An internal client's wishes; they are not the upstream's business. */
function askedRetries(
  headers: HttpRequest["headers"],
  policy: RetryPolicy | undefined,
): RetryPolicy | undefined {
  const asked = retryPolicyFor(policy, (name) => headers.get(name));
  for (const name of retryControls) if (headers.has(name)) headers.remove(name);
  return asked;
}
