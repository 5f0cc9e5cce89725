import type { CompiledRoute } from "../engine/route-table.ts";
import type { MessageHeaders } from "./message-headers.ts";

/** The route's, unless the caller names another (only trusted callers' controls get this far). */
export function routeTimeout(headers: MessageHeaders, route: CompiledRoute): number {
  const asked = headers.get("x-envoy-upstream-rq-timeout-ms");
  if (asked === undefined) return route.timeoutMs;
  headers.remove("x-envoy-upstream-rq-timeout-ms");
  return /^\d{1,9}$/.test(asked) ? Number(asked) : route.timeoutMs;
}
