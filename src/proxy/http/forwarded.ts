/**
 * What the proxy tells the next hop about where a request came from, and what it does not let a
 * stranger say: `x-forwarded-*`, `x-request-id`, `via`; the client itself is in `client-address.ts`.
 */
import type { Channel } from "../../net/channel.ts";
import { newRequestId } from "../../telemetry/random-ids.ts";
import { known } from "../../wire/http1-tables.ts";
import { settleClient } from "./client-address.ts";
import { applyClientCert } from "./client-cert.ts";
import type { HttpRequest } from "./http-request.ts";
import type { HttpSettings } from "./settings.ts";
import { withoutReason } from "./trace-decision.ts";

/** Edits the request's headers; returns the request id (empty when there is none). */
export function applyForwarded(
  request: HttpRequest,
  channel: Channel,
  settings: HttpSettings,
): string {
  const { headers, connection } = request;
  const { trust } = settings;
  if (request.redirectedTo !== undefined) {
    request.scheme = request.redirectedTo;
    return headers.get("x-request-id") ?? "";
  }
  request.scheme = connection.isTls ? "https" : "http";
  settleClient(request, trust);
  // Nobody in front of an edge without trusted hops is believed.
  const isFirst = trust.usesRemoteAddress && trust.trustedHops === 0;
  if (isFirst) headers.remove("x-forwarded-proto");
  const head = headers.head;
  if (head === undefined || head.findId(known.forwardedProto) < 0) {
    headers.add("x-forwarded-proto", request.scheme);
  } else {
    const proto = headers.get("x-forwarded-proto");
    if (proto === "https" || proto === "http") request.scheme = proto;
  }
  if (settings.appendsForwardedPort && (isFirst || !headers.has("x-forwarded-port"))) {
    headers.set("x-forwarded-port", String(connection.destinationPort));
  }
  if (settings.via !== "") headers.add("via", settings.via);
  applyClientCert(headers, channel, settings);
  return applyRequestId(request, settings);
}

function applyRequestId(request: HttpRequest, settings: HttpSettings): string {
  const { headers } = request;
  const isEdge = settings.trust.usesRemoteAddress && !request.isInternal;
  if (isEdge && !settings.keepsExternalRequestId && settings.generatesRequestId) {
    headers.remove("x-request-id");
  }
  const field = headers.head?.findId(known.requestId) ?? -1;
  const told = field >= 0 ? (headers.head?.valueAt(field) ?? "") : "";
  if (!settings.generatesRequestId) return told;
  if (told !== "") {
    if (!isEdge || settings.tracing?.ids.packsReason === false) return told;
    const kept = withoutReason(told);
    if (kept !== told) headers.set("x-request-id", kept);
    return kept;
  }
  // Also one that is there and empty.
  headers.remove("x-request-id");
  const id = newRequestId();
  headers.add("x-request-id", id);
  return id;
}
