/**
 * Whether a request is traced of which no tracer has said so, as Envoy decides: by its id, so that every
 * proxy on its way decides alike, and so that the id tells the next one why.
 */
import { withDigit } from "../../telemetry/random-ids.ts";
import type { HttpRequest } from "./http-request.ts";
import type { RequestIdSettings } from "./request-ids.ts";
import type { TracingSettings } from "./settings.ts";
import type { StreamRecord } from "./stream-record.ts";

/** Where a UUID of version 4 has its 4. */
const reasonAt = 14;
const idLength = 36;
const reasons = { none: "4", sampled: "9", forced: "a", client: "b" } as const;
/** So finely are shares drawn. */
const drawnMax = 10_000;
const known: ReadonlySet<string> = new Set([reasons.sampled, reasons.forced, reasons.client]);

export function decidesToTrace(
  request: HttpRequest,
  record: StreamRecord,
  settings: TracingSettings,
  random: () => number,
): boolean {
  const { ids, overallSampling } = settings;
  if (!ids.drawsById) return true;
  const drawn = drawnBy(record.requestId);
  if (drawn < 0) return false;
  const isPacked = ids.packsReason && record.requestId.length === idLength;
  const told = isPacked ? record.requestId.charAt(reasonAt) : "";
  const reason = known.has(told) ? told : ownReason(request, settings, drawn, random);
  const isTraced = reason !== reasons.none && drawn < overallSampling * drawnMax;
  const tells = isTraced ? reason : reasons.none;
  if (reason !== reasons.none && tells !== told) tellReason(request, record, ids, tells);
  return isTraced;
}

/** A client that names its own trace wants it made; an internal one may insist. */
function ownReason(
  { headers, isInternal }: HttpRequest,
  { clientSampling, randomSampling }: TracingSettings,
  drawn: number,
  random: () => number,
): string {
  if (headers.has("x-client-trace-id") && random() < clientSampling) return reasons.client;
  if (isInternal && headers.has("x-envoy-force-trace")) return reasons.forced;
  return drawn < randomSampling * drawnMax ? reasons.sampled : reasons.none;
}

/** A stranger's id, which may be kept, but decides nothing. */
export function withoutReason(id: string): string {
  if (id.length !== idLength) return id;
  return withDigit(id, reasonAt, reasons.none);
}

function tellReason(
  request: HttpRequest,
  record: StreamRecord,
  { packsReason }: RequestIdSettings,
  reason: string,
): void {
  const { requestId } = record;
  if (!packsReason || requestId.length !== idLength) return;
  record.requestId = withDigit(requestId, reasonAt, reason);
  request.headers.set("x-request-id", record.requestId);
}

/** Whole numbers below `drawnMax`, of ids that begin with one; -1 for others, which are never drawn. */
function drawnBy(requestId: string): number {
  let value = 0;
  for (let at = 0; at < 8; at++) {
    const digit = hexDigit(requestId.charCodeAt(at));
    if (digit < 0) return -1;
    value = (value * 16 + digit) % drawnMax;
  }
  return value;
}

/** -1 for what is none, and for what is not there. */
function hexDigit(unit: number): number {
  if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
  const lower = unit | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
