/** Joins a request to its trace, or starts one, and tells the next hop. */
import { newSpanId, newTraceId, newTraceparent } from "../../telemetry/random-ids.ts";
import {
  formatB3Single,
  formatTraceparent,
  parseTraceContext,
  parseTraceDecision,
  upstreamSpanId,
} from "../../telemetry/trace-context.ts";
import { traceB3 } from "./b3-tracing.ts";
import { traceDatadog } from "./datadog-tracing.ts";
import { traceSkywalking } from "./skywalking-tracing.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import type { HttpRequest } from "./http-request.ts";
import type { MessageHeaders } from "./message-headers.ts";
import type { TracingSettings } from "./settings.ts";
import { decidesToTrace } from "./trace-decision.ts";
import type { TraceSampler } from "./trace-samplers.ts";
import type { StreamRecord } from "./stream-record.ts";

/**
 * Every request gets ids, sampled or not: a later hop must not sample what an earlier one did not.
 * Of what the manager's shares let through the caller decides, or a sampler; without either it is
 * traced. Shares are drawn by the request's id, those of clients by `random` (uniform in [0, 1)).
 */
export function traceRequest(
  request: HttpRequest,
  record: StreamRecord,
  settings: TracingSettings,
  random: () => number,
): void {
  const { headers } = request;
  const { propagation } = settings;
  if (propagation.kind !== "w3c") {
    return traceElsewise(request, record, settings, random);
  }
  const hasMultiple = headers.has("x-b3-traceid") || headers.has("x-b3-sampled");
  const hasContext = hasMultiple || headers.has("traceparent") || headers.has("b3");
  if (hasContext) joinTrace(request, record, { settings, random, hasMultiple });
  else startTrace(request, record, settings, random);
}

/** In the words of a provider that has its own. By itself, for its closure costs every call a context. */
function traceElsewise(
  request: HttpRequest,
  record: StreamRecord,
  settings: TracingSettings,
  random: () => number,
): void {
  const { propagation, spawnsUpstreamSpan, isSilent = false } = settings;
  const how = { spawnsUpstreamSpan, isSilent };
  const decides = (): boolean => decidesToTrace(request, record, settings, random);
  switch (propagation.kind) {
    case "b3":
      return traceB3(request, record, { ...propagation, ...how }, decides);
    case "datadog":
      return traceDatadog(request, record, how, decides);
    case "skywalking":
      return traceSkywalking(request, record, { ...propagation, ...how }, decides);
    case "w3c":
  }
}

/** Nobody has named a trace: one string holds its ids. */
function startTrace(
  request: HttpRequest,
  record: StreamRecord,
  settings: TracingSettings,
  random: () => number,
): void {
  record.isSampled = decidesToTrace(request, record, settings, random);
  const sampler = samplerOf(settings);
  const traceparent =
    sampler === undefined ? newTraceparent(record.isSampled) : sampledTraceparent(record, sampler);
  record.beginTrace(traceparent);
  if (settings.isSilent === true) return;
  if (!settings.spawnsUpstreamSpan) return request.headers.set("traceparent", traceparent);
  const { traceId, isSampled } = record;
  const spanId = upstreamSpanId(record.spanId);
  request.headers.set("traceparent", formatTraceparent({ traceId, spanId, isSampled }));
}

/** Ids come first: the sampler asks for one. */
function sampledTraceparent(record: StreamRecord, sampler: TraceSampler): string {
  const traceId = newTraceId();
  record.isSampled &&= sampler(traceId, undefined);
  return formatTraceparent({ traceId, spanId: newSpanId(), isSampled: record.isSampled });
}

function samplerOf({ propagation }: TracingSettings): TraceSampler | undefined {
  return propagation.kind === "w3c" ? propagation.sampler : undefined;
}

interface TraceJoining {
  readonly settings: TracingSettings;
  readonly random: () => number;
  readonly hasMultiple: boolean;
}

function joinTrace(
  request: HttpRequest,
  record: StreamRecord,
  { settings, random, hasMultiple }: TraceJoining,
): void {
  const { headers } = request;
  const lookup = (name: string): string | undefined => headers.get(name);
  const caller = parseTraceContext(lookup);
  record.traceId = caller?.traceId ?? newTraceId();
  record.parentSpanId = caller?.spanId ?? "";
  record.spanId = newSpanId();
  const decided = caller?.isSampled ?? parseTraceDecision(lookup);
  const sampler = samplerOf(settings);
  // What the manager's shares do not let through is not traced, whatever its caller says: as in Envoy.
  const isDrawn = decidesToTrace(request, record, settings, random);
  record.isSampled =
    isDrawn && (sampler === undefined ? (decided ?? true) : sampler(record.traceId, decided));
  if (settings.isSilent === true) return;
  const { traceId, isSampled } = record;
  const hasTwo = settings.spawnsUpstreamSpan;
  const spanId = hasTwo ? upstreamSpanId(record.spanId) : record.spanId;
  const next = { traceId, spanId, isSampled };
  if (headers.has("b3")) headers.set("b3", formatB3Single(next));
  if (hasMultiple) {
    headers.set("x-b3-traceid", traceId);
    headers.set("x-b3-spanid", spanId);
    headers.set("x-b3-parentspanid", hasTwo ? record.spanId : record.parentSpanId);
    headers.set("x-b3-sampled", isSampled ? "1" : "0");
  }
  headers.set("traceparent", formatTraceparent(next));
}

const operationHeader = "x-envoy-decorator-operation";

/**
 * Names the span's operation as the route decorates it. The two proxies of a request agree on one
 * name: a client's proxy tells it, and so does a server's in its answer, unless it was told.
 */
export function decorateRequest(
  request: HttpRequest,
  record: StreamRecord,
  { decoratorOperation, propagatesOperation }: CompiledRoute,
): void {
  record.operation = decoratorOperation ?? "";
  const isTold = propagatesOperation !== false && decoratorOperation !== undefined;
  if (record.direction === "outbound") {
    if (isTold) request.headers.set(operationHeader, decoratorOperation);
    return;
  }
  const asked = request.headers.get(operationHeader);
  if (asked !== undefined) request.headers.remove(operationHeader);
  if (asked !== undefined && asked !== "") record.operation = asked;
  else record.tellsOperation = isTold;
}

/** Our answer's half of it. */
export function decorateResponse(headers: MessageHeaders, record: StreamRecord): void {
  if (record.direction === "outbound") {
    const told = headers.get(operationHeader);
    if (told === undefined) return;
    headers.remove(operationHeader);
    if (told !== "") record.operation = told;
  } else if (record.tellsOperation) {
    headers.set(operationHeader, record.operation);
  }
}
