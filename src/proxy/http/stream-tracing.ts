/** Joins a request to its trace, or starts one, and tells the next hop. */
import {
  formatB3Single,
  formatTraceparent,
  newSpanId,
  newTraceId,
  parseTraceContext,
  upstreamSpanId,
} from "../../telemetry/trace-context.ts";
import type { HttpRequest } from "./http-request.ts";
import type { TracingSettings } from "./settings.ts";
import type { StreamRecord } from "./stream-record.ts";

/**
 * Every request gets ids, sampled or not: a later hop must not sample what an earlier one did not.
 * The decision of the caller stands; without one `random` (uniform in [0, 1)) decides.
 */
export function traceRequest(
  request: HttpRequest,
  record: StreamRecord,
  settings: TracingSettings,
  random: () => number,
): void {
  const { headers } = request;
  const hasContext = headers.has("traceparent") || headers.has("b3") || headers.has("x-b3-traceid");
  const caller = hasContext ? parseTraceContext((name) => headers.get(name)) : undefined;
  record.traceId = caller?.traceId ?? newTraceId();
  record.parentSpanId = caller?.spanId ?? "";
  record.spanId = newSpanId();
  const decided = caller?.isSampled ?? random() < settings.randomSampling;
  record.isSampled =
    decided && (settings.overallSampling >= 1 || random() < settings.overallSampling);
  const { traceId, isSampled } = record;
  const hasTwo = settings.spawnsUpstreamSpan;
  const spanId = hasTwo ? upstreamSpanId(record.spanId) : record.spanId;
  const next = { traceId, spanId, isSampled };
  if (headers.has("b3")) headers.set("b3", formatB3Single(next));
  if (headers.has("x-b3-traceid")) {
    headers.set("x-b3-traceid", traceId);
    headers.set("x-b3-spanid", spanId);
    headers.set("x-b3-parentspanid", hasTwo ? record.spanId : record.parentSpanId);
    headers.set("x-b3-sampled", isSampled ? "1" : "0");
  }
  headers.set("traceparent", formatTraceparent(next));
}
