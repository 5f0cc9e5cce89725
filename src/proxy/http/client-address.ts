/**
 * Who the client is, as far as trusted proxies vouch for it, and whether it may control this proxy by
 * `x-envoy-*` headers: Envoy's rules for `use_remote_address`, `xff_num_trusted_hops` and
 * `internal_address_config`.
 */
import { hasPort, isPipe } from "../../base/socket-address.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { slotWidth } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import { NameSet } from "../../wire/name-set.ts";
import { type IpRange, isInRange, parseIp } from "../engine/ip.ts";
import type { HttpRequest } from "./http-request.ts";

export interface ClientTrust {
  /** We are an edge: only the connection's source, and trusted hops before it, are believed. */
  readonly usesRemoteAddress: boolean;
  readonly trustedHops: number;
  readonly skipsForwardedFor: boolean;
  /** None, unless configured. */
  readonly internalAddresses: readonly IpRange[];
  /** Who connects to a Unix socket is internal, too. */
  readonly areUnixSocketsInternal: boolean;
}

/** Controls that only an internal client may send. */
const internalControls = [
  "x-envoy-expected-rq-timeout-ms",
  "x-envoy-force-trace",
  "x-envoy-hedge-on-per-try-timeout",
  "x-envoy-ip-tags",
  "x-envoy-max-retries",
  "x-envoy-original-url",
  "x-envoy-retriable-header-names",
  "x-envoy-retriable-status-codes",
  "x-envoy-retry-grpc-on",
  "x-envoy-retry-on",
  "x-envoy-upstream-alt-stat-name",
  "x-envoy-upstream-rq-per-try-timeout-ms",
  "x-envoy-upstream-rq-timeout-alt-response",
  "x-envoy-upstream-rq-timeout-ms",
];

/** What proxies tell each other, and an edge takes from nobody. */
const edgeControls = [
  "x-envoy-decorator-operation",
  "x-envoy-downstream-service-cluster",
  "x-envoy-downstream-service-node",
  "x-envoy-is-timeout-retry",
  "x-envoy-original-host",
  "x-envoy-original-path",
] as const;

/** Of whom a stranger is to be told apart: what is said of them is taken out with what they say. */
const strangers = new NameSet(["x-envoy-internal", ...internalControls]);
const strangersAtEdge = new NameSet(["x-envoy-internal", ...internalControls, ...edgeControls]);

/** Settles `request.remoteAddress` and `isInternal`; edits the request's headers accordingly. */
export function settleClient(request: HttpRequest, trust: ClientTrust): void {
  const { headers, connection } = request;
  const source = connection.sourceAddress;
  const hasForwarded = (headers.head?.findId(known.forwardedFor) ?? -1) >= 0;
  const forwarded = hasForwarded ? headers.get("x-forwarded-for") : undefined;
  request.remoteAddress = source;
  request.isInternal = false;
  if (trust.usesRemoteAddress) {
    if (trust.trustedHops > 0) {
      request.remoteAddress = addressFromLast(forwarded, trust.trustedHops - 1) ?? source;
    }
    // As Envoy: what is no IP address is nobody's to know.
    if (!trust.skipsForwardedFor && hasPort(source)) {
      headers.set("x-forwarded-for", forwarded === undefined ? source : `${forwarded},${source}`);
    }
    request.isInternal = forwarded === undefined && isInternal(request.remoteAddress, trust);
  } else {
    const address = addressFromLast(forwarded, trust.trustedHops);
    if (address !== undefined) {
      request.remoteAddress = address;
      request.isInternal = forwarded?.includes(",") === false && isInternal(address, trust);
    }
  }
  if (headers.head !== undefined && hasEnvoyField(headers.head)) dropControls(request, trust);
  if (request.isInternal) headers.add("x-envoy-internal", "true");
  else if (trust.usesRemoteAddress && hasPort(request.remoteAddress)) {
    headers.set("x-envoy-external-address", request.remoteAddress);
  }
}

/** The `skipped`-next address from the end of `x-forwarded-for`; undefined when it is none. */
function addressFromLast(forwarded: string | undefined, skipped: number): string | undefined {
  const text = forwarded
    ?.split(",")
    .at(-1 - skipped)
    ?.trim();
  return text === undefined || parseIp(text) === undefined ? undefined : text;
}

function isInternal(address: string, trust: ClientTrust): boolean {
  const { internalAddresses, areUnixSocketsInternal } = trust;
  if (areUnixSocketsInternal && isPipe(address)) return true;
  if (internalAddresses.length === 0) return false;
  const bytes = parseIp(address);
  return bytes !== undefined && internalAddresses.some((range) => isInRange(bytes, range));
}

function dropControls(request: HttpRequest, { usesRemoteAddress }: ClientTrust): void {
  const { headers } = request;
  if (request.isInternal) return headers.remove("x-envoy-internal");
  headers.removeAll(usesRemoteAddress ? strangersAtEdge : strangers);
}

/** Whether some field begins with `x-envoy-`: most requests have none, and are done with one look. */
function hasEnvoyField({ bytes, count, slots }: Http1Head): boolean {
  for (let field = 0; field < count; field++) {
    const at = slots[field * slotWidth] ?? 0;
    // "x-en": what follows does not matter for a first look.
    if (bytes[at] === 0x78 && bytes[at + 2] === 0x65 && bytes[at + 3] === 0x6e) return true;
  }
  return false;
}
