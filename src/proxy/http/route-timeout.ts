import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import type { HttpRequest } from "./http-request.ts";
import type { MessageHeaders } from "./message-headers.ts";
import type { RouterOptions } from "./router-options.ts";
import { parseGrpcTimeout } from "./stream-duration.ts";

const askedHeader = "x-envoy-upstream-rq-timeout-ms";
const expectedHeader = "x-envoy-expected-rq-timeout-ms";

/** The route's, unless the caller names another (only trusted callers' controls get this far). */
export function routeTimeout(
  { headers, isInternal }: HttpRequest,
  route: CompiledRoute,
  router: RouterOptions,
): number {
  const ownMs = ownTimeout(headers, route);
  const expected = isInternal ? headers.get(expectedHeader) : undefined;
  if (expected !== undefined) {
    // The server is told what comes of it.
    if (!router.isSilent && (ownMs > 0 || router.heedsExpected)) headers.remove(expectedHeader);
    if (router.heedsExpected) return milliseconds(expected) ?? ownMs;
  }
  const asked = headers.get(askedHeader);
  if (asked === undefined) return ownMs;
  headers.remove(askedHeader);
  return milliseconds(asked) ?? ownMs;
}

function milliseconds(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
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
