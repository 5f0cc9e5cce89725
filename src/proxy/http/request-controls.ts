/** What an internal client asks for by `x-envoy-…` headers, beside retries; the upstream is not told. */
import type { ClusterCounters } from "../context.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import type { HttpRequest } from "./http-request.ts";

export class RequestControls {
  /** A try that takes its time goes on beside the next one. */
  hedges = false;
  /** 204 instead of 504 when time is up. */
  isTimeoutEmpty = false;
  /** The cluster's answers are counted under this name, too. */
  statName = "";

  countAnswer(counters: ClusterCounters | undefined, status: number, durationMs: number): void {
    counters?.onResponse(status, durationMs);
    if (this.statName !== "") counters?.onNamedResponse(this.statName, status, durationMs);
  }

  /** Takes the headers out. Those of others were taken out before. */
  read({ headers, isInternal }: HttpRequest, route: CompiledRoute): void {
    this.hedges = route.hedges === true;
    this.isTimeoutEmpty = false;
    this.statName = "";
    if (!isInternal) return;
    const hedges = headers.get("x-envoy-hedge-on-per-try-timeout");
    if (hedges !== undefined) {
      headers.remove("x-envoy-hedge-on-per-try-timeout");
      if (hedges === "true") this.hedges = true;
      if (hedges === "false") this.hedges = false;
    }
    this.isTimeoutEmpty = headers.has("x-envoy-upstream-rq-timeout-alt-response");
    if (this.isTimeoutEmpty) headers.remove("x-envoy-upstream-rq-timeout-alt-response");
    this.statName = headers.get("x-envoy-upstream-alt-stat-name") ?? "";
    if (this.statName !== "") headers.remove("x-envoy-upstream-alt-stat-name");
  }
}
