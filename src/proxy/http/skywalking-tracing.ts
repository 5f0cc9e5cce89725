/** Joins a request to a trace of SkyWalking, or starts one; the next hop is told of an exit span alone. */
import { utf8Of } from "../../base/latin1.ts";
import { newRequestId } from "../../telemetry/random-ids.ts";
import { formatSw8, parseSw8 } from "../../telemetry/skywalking.ts";
import type { HttpRequest } from "./http-request.ts";
import type { StreamRecord } from "./stream-record.ts";

export interface SkywalkingPropagation {
  readonly kind: "skywalking";
  readonly service: string;
  readonly instance: string;
}

/** The record's span is the segment, its parent the caller's header. */
export function traceSkywalking(
  { headers, path, authority }: HttpRequest,
  record: StreamRecord,
  settings: SkywalkingPropagation & {
    readonly spawnsUpstreamSpan: boolean;
    readonly isSilent: boolean;
  },
  isWanted: () => boolean,
): void {
  const told = headers.get("sw8");
  const caller = parseSw8(told);
  // As its own agents: who tells us something else is not traced.
  if (told !== undefined && caller === undefined) return;
  record.traceId = caller?.traceId ?? newRequestId();
  record.spanId = newRequestId();
  record.parentSpanId = told ?? "";
  record.isSampled = isWanted();
  if (!settings.spawnsUpstreamSpan || settings.isSilent) return;
  const { service, instance } = settings;
  const here = { traceId: record.traceId, segmentId: record.spanId, spanId: 1, service, instance };
  headers.set("sw8", formatSw8({ ...here, endpoint: utf8Of(path), address: utf8Of(authority) }));
}
