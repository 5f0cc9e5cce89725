/** How long a whole stream may take. */
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import type { HttpRequest } from "./http-request.ts";

const unitsMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/**
 * The route's limit, or the connection manager's (`managerMs`); where the route allows it, the one
 * that a gRPC caller names. 0 is none.
 */
export function streamDurationMs(
  request: HttpRequest,
  route: CompiledRoute,
  managerMs: number,
): number {
  const { grpcTimeoutMaxMs, grpcTimeoutOffsetMs = 0 } = route;
  if (grpcTimeoutMaxMs !== undefined) {
    const askedMs = parseGrpcTimeout(request.header("grpc-timeout"));
    if (askedMs !== undefined) {
      const limitMs = grpcTimeoutMaxMs > 0 ? Math.min(askedMs, grpcTimeoutMaxMs) : askedMs;
      return limitMs > grpcTimeoutOffsetMs ? limitMs - grpcTimeoutOffsetMs : limitMs;
    }
  }
  return route.maxStreamDurationMs ?? managerMs;
}

/** `100m` is 100 ms; at least 1, since what has no time at all has no answer either. */
export function parseGrpcTimeout(text: string | undefined): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(text ?? "") ?? [];
  const unitMs = unitsMs[unit];
  return unitMs === undefined ? undefined : Math.max(1, Math.ceil(Number(digits) * unitMs));
}

/** Whether a server is told the deadline that holds here: of gRPC, where the route says anything of it. */
export function tellsGrpcTimeout(request: HttpRequest, route: CompiledRoute): boolean {
  const { grpcTimeoutCapMs, grpcTimeoutMaxMs, maxStreamDurationMs } = route;
  const isAsked = (grpcTimeoutCapMs ?? grpcTimeoutMaxMs ?? maxStreamDurationMs) !== undefined;
  return isAsked && isGrpcContentType(request.header("content-type"));
}

/** The largest number that a deadline may have: eight digits. */
const grpcDigitsMax = 99_999_999;

/** A deadline as `grpc-timeout` writes it; no earlier than in a millisecond. */
export function formatGrpcTimeout(ms: number): string {
  const whole = Math.max(1, Math.ceil(ms));
  if (whole <= grpcDigitsMax) return `${whole}m`;
  if (whole / 1000 <= grpcDigitsMax) return `${Math.floor(whole / 1000)}S`;
  if (whole / 60_000 <= grpcDigitsMax) return `${Math.floor(whole / 60_000)}M`;
  return `${Math.min(grpcDigitsMax, Math.floor(whole / 3_600_000))}H`;
}
