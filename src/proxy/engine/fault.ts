/** Whether, and how, a request is delayed or answered with an injected failure. */
import type { FractionalPercent } from "../../wire/gen/ts/envoy/type/v3/percent.ts";
import type { HTTPFault } from "../../wire/gen/ts/envoy/extensions/filters/http/fault/v3/fault.ts";
import { durationMs } from "./duration.ts";
import { compileHeaderMatchers, type HeaderLookup } from "./header-matcher.ts";
import { refuse } from "./refusal.ts";
import { fractionOf } from "./route-match.ts";

export interface FaultDecision {
  /** 0 = no delay. The abort, when there is one, follows the delay. */
  readonly delayMs: number;
  readonly abort: FaultAbort | undefined;
}

export type FaultAbort =
  | { readonly kind: "http"; readonly status: number; readonly body: string }
  | { readonly kind: "grpc"; readonly status: number; readonly body: string };

export interface Fault {
  /** False where nothing is ever injected. */
  readonly canInject: boolean;
  /** Faults that may be in force at once; 0 = no limit. */
  readonly activeMax: number;
  /** Undefined when nothing is injected. `cluster` is where the request would go. */
  decide(header: HeaderLookup, cluster: string, random: () => number): FaultDecision | undefined;
}

export function compileFault(config: HTTPFault, path: string): Fault {
  if (config.responseRateLimit !== undefined) {
    refuse(`${path}.response_rate_limit`, "is not supported");
  }
  if (config.delay?.headerDelay !== undefined) {
    refuse(`${path}.delay.header_delay`, "is not supported");
  }
  if (config.abort?.headerAbort !== undefined) {
    refuse(`${path}.abort.header_abort`, "is not supported");
  }
  if (config.downstreamNodes.length > 0) refuse(`${path}.downstream_nodes`, "is not supported");
  const headers = compileHeaderMatchers(config.headers, `${path}.headers`);
  const delayMs = durationMs(config.delay?.fixedDelay) ?? 0;
  const delayShare = shareOf(config.delay?.percentage);
  const abort = compileAbort(config, path);
  const abortShare = shareOf(config.abort?.percentage);
  return {
    canInject: (delayMs > 0 && delayShare > 0) || (abort !== undefined && abortShare > 0),
    activeMax: config.maxActiveFaults ?? 0,
    decide(header, cluster, random) {
      if (config.upstreamCluster !== "" && config.upstreamCluster !== cluster) return undefined;
      if (!headers.every((matches) => matches(header))) return undefined;
      const delay = delayMs > 0 && random() < delayShare ? delayMs : 0;
      const failure = abort !== undefined && random() < abortShare ? abort : undefined;
      if (delay === 0 && failure === undefined) return undefined;
      return { delayMs: delay, abort: failure };
    },
  };
}

function shareOf(percentage: FractionalPercent | undefined): number {
  return percentage === undefined ? 0 : fractionOf(percentage);
}

function compileAbort(config: HTTPFault, path: string): FaultAbort | undefined {
  const { abort } = config;
  if (abort === undefined) return undefined;
  const body = abort.responseBody === "" ? "fault filter abort" : abort.responseBody;
  if (abort.grpcStatus !== undefined) return { kind: "grpc", status: abort.grpcStatus, body };
  const status = abort.httpStatus;
  if (status === undefined || status < 200 || status > 599) {
    return refuse(`${path}.abort.http_status`, "must be between 200 and 599");
  }
  return { kind: "http", status, body };
}
