/**
 * A call to a cluster that is made again where its answer, or its failure, is one that a policy names:
 * all of it within the time of the one call, and within what the cluster allows of retries at once.
 */
import type { RetryPolicy as CoreRetryPolicy } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { RetryPolicy as RouteRetryPolicy } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { durationMs } from "../engine/duration.ts";
import { compileRetryPolicy } from "../engine/retry-policy.ts";
import type { AttemptOutcome, RetryPolicy } from "../engine/route-table.ts";
import {
  type CallAnswer,
  callCluster,
  type Caller,
  type CallFailure,
  type CallRequest,
  type CallServices,
  type RunningCall,
} from "./cluster-call.ts";
import { Deadline, type DeadlineOwner } from "./deadline-wheel.ts";

export interface RepeatedCallServices extends CallServices {
  readonly random: () => number;
}

const baseDefaultMs = 1_000;

/** What Envoy makes of a policy that is not a route's. */
export function compileCallRetries(policy: CoreRetryPolicy, path: string): RetryPolicy {
  const { retryBackOff: { baseInterval, maxInterval } = {}, numRetries, retryOn } = policy;
  const baseMs = durationMs(baseInterval) ?? baseDefaultMs;
  const maxMs = durationMs(maxInterval) ?? 10 * baseMs;
  return compileRetryPolicy(
    RouteRetryPolicy.fromPartial({
      retryOn,
      numRetries,
      retryBackOff: { baseInterval: duration(baseMs), maxInterval: duration(maxMs) },
      perTryTimeout: duration(maxMs),
    }),
    path,
  );
}

function duration(ms: number): { seconds: bigint; nanos: number } {
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: Math.round((ms % 1000) * 1e6) };
}

/** Never throws. The wheel's clock was read in this turn. */
export function callRepeatedly(
  services: RepeatedCallServices,
  request: CallRequest,
  ...[retry, caller]: [retry: RetryPolicy | undefined, caller: Caller]
): RunningCall {
  if (retry === undefined) return callCluster(services, request, caller);
  const call = new RepeatedCall(services, request, retry, caller);
  call.begin();
  return call;
}

class RepeatedCall implements RunningCall, DeadlineOwner {
  readonly #services: RepeatedCallServices;
  readonly #request: CallRequest;
  readonly #retry: RetryPolicy;
  readonly #caller: Caller;
  readonly #pause: Deadline = new Deadline(this);
  readonly #endMs: number;
  #call: RunningCall | undefined;
  #count = 0;
  #hasPermit = false;

  constructor(
    services: RepeatedCallServices,
    request: CallRequest,
    ...[retry, caller]: [retry: RetryPolicy, caller: Caller]
  ) {
    this.#services = services;
    this.#request = request;
    this.#retry = retry;
    this.#caller = caller;
    this.#endMs = services.upstreams.wheel.nowMs + request.timeoutMs;
  }

  begin(): void {
    const leftMs = this.#endMs - this.#services.upstreams.wheel.nowMs;
    const { perTryTimeoutMs } = this.#retry;
    const timeoutMs = perTryTimeoutMs > 0 ? Math.min(leftMs, perTryTimeoutMs) : leftMs;
    this.#call = callCluster(
      this.#services,
      { ...this.#request, timeoutMs },
      {
        onAnswer: (answer) => {
          if (this.#isMadeAgain(outcomeOf(answer))) return;
          this.#end();
          this.#caller.onAnswer(answer);
        },
        onFailure: (reason, kind) => {
          if (this.#isMadeAgain(failures[kind])) return;
          this.#end();
          this.#caller.onFailure(reason, kind);
        },
      },
    );
  }

  onDeadline(): void {
    this.begin();
  }

  cancel(): void {
    this.#call?.cancel();
    this.#end();
  }

  #isMadeAgain(outcome: AttemptOutcome | undefined): boolean {
    const { clusters, upstreams, random } = this.#services;
    if (outcome === undefined || this.#count >= this.#retry.maxRetries) return false;
    if (!this.#retry.isRetriable(outcome)) return false;
    const waitMs = this.#retry.backoffMs(this.#count + 1, random);
    if (upstreams.wheel.touch() + waitMs >= this.#endMs) return false;
    const cluster = clusters.get(this.#request.cluster);
    this.#release();
    if (cluster?.limits.tryRetry() !== true) return false;
    this.#hasPermit = true;
    this.#count++;
    cluster.counters.onRetry();
    upstreams.wheel.arm(this.#pause, waitMs);
    return true;
  }

  #end(): void {
    this.#release();
    this.#services.upstreams.wheel.release(this.#pause);
  }

  #release(): void {
    if (!this.#hasPermit) return;
    this.#hasPermit = false;
    this.#services.clusters.get(this.#request.cluster)?.limits.releaseRetry();
  }
}

/** Undefined: no other answer would come. */
const failures: { readonly [Kind in CallFailure]: AttemptOutcome | undefined } = {
  unasked: undefined,
  "connect-failure": { kind: "connect-failure" },
  reset: { kind: "reset", isBeforeRequest: false, isReusedConnection: false, isIdempotent: true },
  timeout: { kind: "per-try-timeout" },
};

/** What has not come whole is an answer nevertheless, where it was wanted. */
function outcomeOf({ status, head }: CallAnswer): AttemptOutcome {
  return {
    kind: "response",
    status,
    grpcStatus: undefined,
    header: (name) => head.joined(name),
  };
}
