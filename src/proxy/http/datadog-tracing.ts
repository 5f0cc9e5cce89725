/**
 * Joins a request to a trace of Datadog, or starts one, and tells the next hop: in Datadog's own
 * headers and in W3C's, as its libraries do by default.
 */
import { newSpanId } from "../../telemetry/random-ids.ts";
import {
  formatTraceparent,
  parseTraceparent,
  upstreamSpanId,
} from "../../telemetry/trace-context.ts";
import type { HttpRequest } from "./http-request.ts";
import type { StreamRecord } from "./stream-record.ts";

export interface DatadogContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean | undefined;
}

export interface DatadogSettings {
  readonly spawnsUpstreamSpan: boolean;
  /** The next hop is told nothing. */
  readonly isSilent: boolean;
}

export function traceDatadog(
  request: HttpRequest,
  record: StreamRecord,
  { spawnsUpstreamSpan, isSilent }: DatadogSettings,
  isWanted: () => boolean,
): void {
  const header = (name: string): string | undefined => request.headers.get(name);
  const caller = readDatadog(header) ?? parseTraceparent(header("traceparent") ?? "");
  record.spanId = newSpanId();
  record.traceId = caller?.traceId ?? upperOf(record.startMs) + record.spanId;
  record.parentSpanId = caller?.spanId ?? "";
  record.isSampled = caller?.isSampled ?? isWanted();
  if (!isSilent) tellNext(request, record, spawnsUpstreamSpan);
}

/** Of a trace that begins: its seconds, and nothing. */
function upperOf(startMs: number): string {
  return `${Math.floor(startMs / 1000)
    .toString(16)
    .padStart(8, "0")}00000000`;
}

const decimal = /^\d{1,20}$/;

export function readDatadog(
  header: (name: string) => string | undefined,
): DatadogContext | undefined {
  const trace = header("x-datadog-trace-id") ?? "";
  const parent = header("x-datadog-parent-id") ?? "";
  if (!decimal.test(trace) || !decimal.test(parent)) return undefined;
  const low = digitsOf(trace);
  const spanId = digitsOf(parent);
  if (low === undefined || spanId === undefined || /^0+$/.test(low)) return undefined;
  const upper = /(?:^|,)_dd\.p\.tid=([0-9a-f]{16})(?:,|$)/.exec(
    header("x-datadog-tags") ?? "",
  )?.[1];
  const priority = /^-?\d$/.exec(header("x-datadog-sampling-priority") ?? "")?.[0];
  return {
    traceId: (upper ?? "0".repeat(16)) + low,
    spanId,
    isSampled: priority === undefined ? undefined : Number(priority) > 0,
  };
}

/** 16 hexadecimal digits; undefined for more than 64 bits. */
function digitsOf(text: string): string | undefined {
  const hex = BigInt(text).toString(16).padStart(16, "0");
  return hex.length > 16 ? undefined : hex;
}

function tellNext({ headers }: HttpRequest, record: StreamRecord, hasTwo: boolean): void {
  const { traceId, isSampled } = record;
  const spanId = hasTwo ? upstreamSpanId(record.spanId) : record.spanId;
  const upper = traceId.slice(0, 16);
  headers.set("x-datadog-trace-id", BigInt(`0x${traceId.slice(16)}`).toString());
  headers.set("x-datadog-parent-id", BigInt(`0x${spanId}`).toString());
  const priority = isSampled ? 1 : -1;
  headers.set("x-datadog-sampling-priority", String(priority));
  const why = isSampled ? "-0" : "-4";
  const tid = /^0+$/.test(upper) ? "" : `,_dd.p.tid=${upper}`;
  headers.set("x-datadog-tags", `_dd.p.dm=${why}${tid}`);
  headers.set("traceparent", formatTraceparent({ traceId, spanId, isSampled }));
  headers.set("tracestate", `dd=s:${priority};p:${spanId};t.dm:${why}`);
}
