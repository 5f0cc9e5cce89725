/** How long a whole stream may take. */
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
