/** Joins a request to a trace of Zipkin, or starts one, and tells the next hop in B3. */
import { childSpanId, type B3Context, readB3, readB3Decision } from "../../telemetry/b3.ts";
import { newSpanId } from "../../telemetry/random-ids.ts";
import { formatTraceparent, parseTraceparent } from "../../telemetry/trace-context.ts";
import type { HttpRequest } from "./http-request.ts";
import type { StreamRecord } from "./stream-record.ts";
import type { B3Propagation } from "./trace-propagation.ts";

export interface B3Settings extends B3Propagation {
  readonly spawnsUpstreamSpan: boolean;
  readonly isSilent: boolean;
}

/** `isWanted`: our own decision, where the caller has made none. */
export function traceB3(
  request: HttpRequest,
  record: StreamRecord,
  settings: B3Settings,
  isWanted: () => boolean,
): void {
  const { headers } = request;
  const header = (name: string): string | undefined => headers.get(name);
  const read = readB3(header);
  if (read === "invalid") return;
  const fallback = read === "none" && settings.hasW3c ? parentOf(header("traceparent")) : undefined;
  const caller = read === "none" ? fallback?.context : read;
  const isShared = settings.sharesSpans && record.direction !== "outbound";
  record.isSampled = readB3Decision(header) ?? fallback?.isSampled ?? isWanted();
  if (caller === undefined) {
    record.spanId = newSpanId();
    record.traceId = settings.isTraceIdLong ? newSpanId() + record.spanId : record.spanId;
  } else {
    record.traceId = caller.traceId;
    record.spanId = isShared ? caller.spanId : newSpanId();
    record.parentSpanId = isShared ? caller.parentSpanId : caller.spanId;
  }
  if (!settings.isSilent) tellNext(request, record, settings);
}

function parentOf(
  traceparent: string | undefined,
): { readonly context: B3Context; readonly isSampled: boolean | undefined } | undefined {
  const parsed = traceparent === undefined ? undefined : parseTraceparent(traceparent);
  if (parsed === undefined) return undefined;
  const { traceId, spanId, isSampled } = parsed;
  return { context: { traceId, spanId, parentSpanId: "" }, isSampled };
}

function tellNext({ headers }: HttpRequest, record: StreamRecord, settings: B3Settings): void {
  const { traceId, isSampled } = record;
  const hasTwo = settings.spawnsUpstreamSpan;
  const spanId = hasTwo ? childSpanId(record.spanId) : record.spanId;
  const parent = hasTwo ? record.spanId : record.parentSpanId;
  const flag = isSampled ? "1" : "0";
  // In the form in which it came.
  if (headers.has("b3")) {
    headers.set("b3", `${traceId}-${spanId}-${flag}${parent === "" ? "" : `-${parent}`}`);
  } else {
    headers.set("x-b3-traceid", traceId);
    headers.set("x-b3-spanid", spanId);
    if (parent !== "") headers.set("x-b3-parentspanid", parent);
    headers.set("x-b3-sampled", flag);
  }
  if (settings.hasW3c) {
    headers.set(
      "traceparent",
      formatTraceparent({ traceId: traceId.padStart(32, "0"), spanId, isSampled }),
    );
  }
}
