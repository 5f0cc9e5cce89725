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
  /** The answer's body leaves no faster; 0 = no limit. */
  readonly bytesPerSecond: number;
}

export type FaultAbort =
  | { readonly kind: "http"; readonly status: number; readonly body: string }
  | { readonly kind: "grpc"; readonly status: number; readonly body: string };

export interface Fault {
  /** False where nothing is ever injected. */
  readonly canInject: boolean;
  /** Faults that may be in force at once. */
  readonly activeMax: number;
  /** What is said of a request that is delayed or aborted; undefined: nothing. */
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  /** Undefined when nothing is injected. `cluster` is where the request would go. */
  decide(header: HeaderLookup, cluster: string, random: () => number): FaultDecision | undefined;
}

const headers = {
  delay: "x-envoy-fault-delay-request",
  delayShare: "x-envoy-fault-delay-request-percentage",
  abort: "x-envoy-fault-abort-request",
  grpcAbort: "x-envoy-fault-abort-grpc-request",
  abortShare: "x-envoy-fault-abort-request-percentage",
  rate: "x-envoy-fault-throughput-response",
  rateShare: "x-envoy-fault-throughput-response-percentage",
  node: "x-envoy-downstream-service-node",
} as const;

/** What a request is asked for one part of a fault; undefined: nothing is injected. */
type PartOf<T> = (header: HeaderLookup) => T | undefined;
type ShareOf = (header: HeaderLookup) => number;

export function compileFault(config: HTTPFault, path: string): Fault {
  const matchers = compileHeaderMatchers(config.headers, `${path}.headers`);
  const nodes = new Set(config.downstreamNodes);
  const delayOf = compileDelay(config);
  const delayShareOf = compileShare(
    config.delay?.percentage,
    config.delay?.headerDelay === undefined ? undefined : headers.delayShare,
  );
  const abortOf = compileAbort(config, path);
  const abortShareOf = compileShare(
    config.abort?.percentage,
    config.abort?.headerAbort === undefined ? undefined : headers.abortShare,
  );
  const rateOf = compileRate(config, path);
  const rateShareOf = compileShare(
    config.responseRateLimit?.percentage,
    config.responseRateLimit?.headerLimit === undefined ? undefined : headers.rateShare,
  );
  const canDelay = delayOf !== undefined && delayShareOf.most > 0;
  const canAbort = abortOf !== undefined && abortShareOf.most > 0;
  const canLimit = rateOf !== undefined && rateShareOf.most > 0;
  const { filterMetadata = {} } = config;
  return {
    metadata: Object.keys(filterMetadata).length === 0 ? undefined : filterMetadata,
    canInject: canDelay || canAbort || canLimit,
    activeMax: config.maxActiveFaults ?? Number.POSITIVE_INFINITY,
    decide(header, cluster, random) {
      if (config.upstreamCluster !== "" && config.upstreamCluster !== cluster) return undefined;
      if (nodes.size > 0 && !nodes.has(header(headers.node) ?? "")) return undefined;
      if (!matchers.every((matches) => matches(header))) return undefined;
      const rate = canLimit && random() < rateShareOf.of(header) ? (rateOf(header) ?? 0) : 0;
      const delay = canDelay && random() < delayShareOf.of(header) ? (delayOf(header) ?? 0) : 0;
      const failure = canAbort && random() < abortShareOf.of(header) ? abortOf(header) : undefined;
      if (delay === 0 && failure === undefined && rate === 0) return undefined;
      return { delayMs: delay, abort: failure, bytesPerSecond: rate };
    },
  };
}

const whole32Max = 0xff_ff_ff_ff;
const whole64Max = 2 ** 64;

/** The whole number that a header says; as Envoy reads it, its first value alone. */
function numberIn(header: HeaderLookup, name: string, max = whole32Max): number | undefined {
  const text = header(name)?.split(",", 1)[0]?.trim() ?? "";
  const number = /^\+?\d+$/.test(text) ? Number(text) : Number.NaN;
  return number <= max ? number : undefined;
}

/** `name`: of the header that may ask for less, never for more. */
function compileShare(
  percentage: FractionalPercent | undefined,
  name: string | undefined,
): { readonly most: number; readonly of: ShareOf } {
  const most = percentage === undefined ? 0 : fractionOf(percentage);
  if (name === undefined || percentage === undefined) return { most, of: () => most };
  const { numerator, denominator } = percentage;
  return {
    most,
    of(header) {
      const asked = numberIn(header, name);
      if (asked === undefined) return most;
      return fractionOf({ numerator: Math.min(asked, numerator), denominator });
    },
  };
}

function compileDelay({ delay }: HTTPFault): PartOf<number> | undefined {
  if (delay?.headerDelay !== undefined) return (header) => numberIn(header, headers.delay);
  const delayMs = durationMs(delay?.fixedDelay) ?? 0;
  return delayMs > 0 ? () => delayMs : undefined;
}

const bytesPerKilobyte = 1024;

/** Bytes a second; a header that says 0 asks for no limit. */
function compileRate(
  { responseRateLimit: limit }: HTTPFault,
  path: string,
): PartOf<number> | undefined {
  if (limit === undefined) return undefined;
  if (limit.headerLimit !== undefined) {
    return (header) => (numberIn(header, headers.rate, whole64Max) ?? 0) * bytesPerKilobyte;
  }
  const place = `${path}.response_rate_limit`;
  if (limit.fixedLimit === undefined) return refuse(place, "names no limit");
  const bytes = Number(limit.fixedLimit.limitKbps) * bytesPerKilobyte;
  if (bytes === 0) return refuse(`${place}.fixed_limit.limit_kbps`, "must be at least 1");
  return () => bytes;
}

const usualBody = "fault filter abort";

function compileAbort({ abort }: HTTPFault, path: string): PartOf<FaultAbort> | undefined {
  if (abort === undefined) return undefined;
  const body = abort.responseBody === "" ? usualBody : abort.responseBody;
  if (abort.headerAbort !== undefined) {
    return (header) => {
      const status = numberIn(header, headers.abort);
      if (status !== undefined && status >= 200 && status < 600) {
        return { kind: "http", status, body };
      }
      const grpc = numberIn(header, headers.grpcAbort);
      return grpc === undefined ? undefined : { kind: "grpc", status: grpc, body };
    };
  }
  const { grpcStatus, httpStatus: status } = abort;
  if (grpcStatus !== undefined) return () => ({ kind: "grpc", status: grpcStatus, body });
  if (status === undefined || status < 200 || status > 599) {
    return refuse(`${path}.abort.http_status`, "must be between 200 and 599");
  }
  return () => ({ kind: "http", status, body });
}
