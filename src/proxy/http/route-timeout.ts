import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import type { MessageHeaders } from "./message-headers.ts";
import { parseGrpcTimeout } from "./stream-duration.ts";

/** The route's, unless the caller names another (only trusted callers' controls get this far). */
export function routeTimeout(headers: MessageHeaders, route: CompiledRoute): number {
  const ownMs = ownTimeout(headers, route);
  const asked = headers.get("x-envoy-upstream-rq-timeout-ms");
  if (asked === undefined) return ownMs;
  headers.remove("x-envoy-upstream-rq-timeout-ms");
  return /^\d{1,9}$/.test(asked) ? Number(asked) : ownMs;
}

function ownTimeout(
  headers: MessageHeaders,
  { timeoutMs, grpcTimeoutCapMs }: CompiledRoute,
): number {
  if (grpcTimeoutCapMs === undefined) return timeoutMs;
  if (!isGrpcContentType(headers.get("content-type"))) return timeoutMs;
  const askedMs = parseGrpcTimeout(headers.get("grpc-timeout")) ?? 0;
  const isOver = askedMs === 0 || askedMs > grpcTimeoutCapMs;
  return grpcTimeoutCapMs > 0 && isOver ? grpcTimeoutCapMs : askedMs;
}
