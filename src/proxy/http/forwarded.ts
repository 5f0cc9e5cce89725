/**
 * What the proxy tells the next hop about where a request came from, and what it does not let a
 * stranger say: `x-forwarded-*`, `x-envoy-*`, `x-forwarded-client-cert`, `x-request-id`, `via`.
 */
import { createHash } from "node:crypto";

import type { Channel } from "../../net/channel.ts";
import { newRequestId } from "../../telemetry/request-id.ts";
import { known } from "../../wire/http1-tables.ts";
import type { HttpRequest } from "./http-request.ts";
import type { HttpSettings } from "./settings.ts";

/** Controls that only a trusted caller may send; an edge (`use_remote_address`) takes them away. */
const edgeControls: readonly string[] = [
  "x-envoy-decorator-operation",
  "x-envoy-downstream-service-cluster",
  "x-envoy-downstream-service-node",
  "x-envoy-expected-rq-timeout-ms",
  "x-envoy-force-trace",
  "x-envoy-hedge-on-per-try-timeout",
  "x-envoy-internal",
  "x-envoy-ip-tags",
  "x-envoy-is-timeout-retry",
  "x-envoy-max-retries",
  "x-envoy-original-path",
  "x-envoy-original-url",
  "x-envoy-original-host",
  "x-envoy-retriable-header-names",
  "x-envoy-retriable-status-codes",
  "x-envoy-retry-grpc-on",
  "x-envoy-retry-on",
  "x-envoy-upstream-alt-stat-name",
  "x-envoy-upstream-rq-per-try-timeout-ms",
  "x-envoy-upstream-rq-timeout-alt-response",
  "x-envoy-upstream-rq-timeout-ms",
];

/** Edits the request's headers; returns the request id (empty when there is none). */
export function applyForwarded(
  request: HttpRequest,
  channel: Channel,
  settings: HttpSettings,
): string {
  const { headers, connection } = request;
  request.scheme = connection.isTls ? "https" : "http";
  if (settings.usesRemoteAddress) applyEdge(request, settings);
  const head = headers.head;
  if (head === undefined || head.findId(known.forwardedProto) < 0) {
    headers.add("x-forwarded-proto", request.scheme);
  } else {
    const proto = headers.get("x-forwarded-proto");
    if (proto === "https" || proto === "http") request.scheme = proto;
  }
  if (settings.appendsForwardedPort && !headers.has("x-forwarded-port")) {
    headers.add("x-forwarded-port", String(connection.destinationPort));
  }
  if (settings.via !== "") headers.add("via", settings.via);
  applyClientCert(request, channel, settings);
  return applyRequestId(request, settings);
}

function applyEdge(request: HttpRequest, settings: HttpSettings): void {
  const { headers, connection } = request;
  for (const name of edgeControls) headers.remove(name);
  headers.set("x-envoy-external-address", connection.sourceAddress);
  if (settings.trustedHops === 0) headers.remove("x-forwarded-proto");
  if (!settings.skipsForwardedFor) {
    const earlier = headers.get("x-forwarded-for");
    headers.set(
      "x-forwarded-for",
      earlier === undefined ? connection.sourceAddress : `${earlier},${connection.sourceAddress}`,
    );
  }
}

function applyRequestId(request: HttpRequest, settings: HttpSettings): string {
  const { headers } = request;
  if (settings.usesRemoteAddress && !settings.keepsExternalRequestId) {
    headers.remove("x-request-id");
  }
  const field = headers.head?.findId(known.requestId) ?? -1;
  if (field >= 0) return headers.head?.valueAt(field) ?? "";
  if (!settings.generatesRequestId) return "";
  const id = newRequestId();
  headers.add("x-request-id", id);
  return id;
}

function applyClientCert(request: HttpRequest, channel: Channel, settings: HttpSettings): void {
  const { headers } = request;
  const mode = settings.clientCert;
  if (mode === "always-forward-only") return;
  const { tls } = channel;
  const isMutual = tls?.peerCertificateDer !== undefined;
  if (!isMutual || mode === "sanitize") {
    headers.remove("x-forwarded-client-cert");
    return;
  }
  if (mode === "forward-only") return;
  const element = clientCertElement(channel, settings);
  const earlier = mode === "append-forward" ? headers.get("x-forwarded-client-cert") : undefined;
  headers.set("x-forwarded-client-cert", earlier === undefined ? element : `${earlier},${element}`);
}

const elements = new WeakMap<Channel, string>();

/** One element of the header: made once per connection. */
function clientCertElement(channel: Channel, settings: HttpSettings): string {
  const made = elements.get(channel);
  if (made !== undefined) return made;
  const { tls } = channel;
  const { subject, uri } = settings.clientCertDetails;
  const parts: string[] = [];
  for (const san of tls?.localUriSans ?? []) parts.push(`By=${san}`);
  const der = tls?.peerCertificateDer;
  if (der !== undefined) parts.push(`Hash=${createHash("sha256").update(der).digest("hex")}`);
  if (subject) parts.push(`Subject="${escapeQuoted(subjectOf(tls?.peerCommonName))}"`);
  if (uri) for (const san of tls?.peerUriSans ?? []) parts.push(`URI=${san}`);
  const element = parts.join(";");
  elements.set(channel, element);
  return element;
}

function subjectOf(commonName: string | undefined): string {
  return commonName === undefined ? "" : `CN=${commonName}`;
}

function escapeQuoted(text: string): string {
  return text.replaceAll(/["\\]/g, String.raw`\$&`);
}
