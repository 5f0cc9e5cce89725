/** Envoy's attributes, read from the record of a request: `request.path`, `response.code`. */
import { utf8Of } from "../../base/latin1.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { RequestRecord } from "../request-record.ts";
import { moment } from "../request-times.ts";
import { CelDuration, type CelMap, CelTimestamp, type CelValue, mapOf } from "./value.ts";

/** Undefined: the attribute is not there for this request. */
export type Attribute = (record: RequestRecord) => CelValue | undefined;

function some(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : utf8Of(text);
}

function decoded(text: string | undefined): string | undefined {
  return text === undefined ? undefined : utf8Of(text);
}

/** As its head says, for policies ask before the body has come; what came, where it does not. */
function requestSize(record: RequestRecord): number | undefined {
  const told = record.requestHeader("content-length");
  if (told === undefined) return record.bytesReceived;
  return /^\d{1,15}$/.test(told) ? Number(told) : undefined;
}

function addressOf(address: SocketAddress | undefined): string | undefined {
  return address === undefined ? undefined : formatSocketAddress(address);
}

function headers(read: (name: string) => string | undefined): CelMap {
  return { isCelMap: true, get: (name) => decoded(read(name.toLowerCase())) };
}

function metadata(value: Readonly<Record<string, unknown>> | undefined): CelMap | undefined {
  return value === undefined ? undefined : mapOf({ filter_metadata: value });
}

const request: { readonly [name: string]: Attribute } = {
  path: (record) => some(record.path),
  // Also of a CONNECT, which has none, as in Envoy: a condition on it must not fail.
  url_path: (record) =>
    record.kind === "http" ? utf8Of(record.path.split("?", 1)[0] ?? "") : undefined,
  query: (record) => utf8Of(record.path.split("?").slice(1).join("?")),
  host: (record) => some(record.authority),
  scheme: (record) => some(record.scheme),
  method: (record) => some(record.method),
  protocol: (record) => some(record.protocol),
  id: (record) => some(record.requestId),
  referer: (record) => decoded(record.requestHeader("referer")),
  useragent: (record) => decoded(record.requestHeader("user-agent")),
  headers: (record) =>
    headers((name) => (name === "host" ? record.authority : record.requestHeader(name))),
  time: (record) => new CelTimestamp(record.startMs),
  duration: (record) => new CelDuration(record.durationMs),
  size: requestSize,
};

const response: { readonly [name: string]: Attribute } = {
  code: (record) => record.responseCode,
  code_details: (record) => some(record.responseCodeDetails),
  grpc_status: (record) => record.grpcStatus,
  headers: (record) => headers((name) => record.responseHeader(name)),
  trailers: (record) => headers((name) => record.responseTrailer(name)),
  size: (record) => record.bytesSent,
  backend_latency: ({ times }) => {
    const ms =
      (times?.at[moment.answerEnd] ?? Number.NaN) - (times?.at[moment.sendBegin] ?? Number.NaN);
    return Number.isNaN(ms) ? undefined : new CelDuration(ms);
  },
};

const connection: { readonly [name: string]: Attribute } = {
  id: (record) => record.connectionId,
  mtls: (record) => record.downstreamTls?.peerCertificateDer !== undefined,
  // Empty where there is none, as in Envoy: `!=` holds then.
  requested_server_name: (record) => record.requestedServerName,
  tls_version: (record) => some(record.downstreamTlsVersion),
  subject_peer_certificate: (record) =>
    record.downstreamTls === undefined ? undefined : (record.downstreamPeerSubject ?? ""),
  uri_san_peer_certificate: (record) => record.downstreamPeerUriSans[0],
  uri_san_local_certificate: (record) => record.downstreamLocalUriSans[0],
  termination_details: (record) => some(record.connectionTerminationDetails),
};

const upstream: { readonly [name: string]: Attribute } = {
  address: (record) => addressOf(record.upstreamHost),
  port: (record) => record.upstreamHost?.port,
  local_address: (record) => addressOf(record.upstreamLocalAddress),
  tls_version: (record) => some(record.upstreamTls?.version),
  uri_san_peer_certificate: (record) => record.upstreamPeerUriSans[0],
  uri_san_local_certificate: (record) => record.upstreamLocalUriSans[0],
  transport_failure_reason: (record) => record.upstreamTransportFailureReason,
  request_attempt_count: (record) => record.upstreamAttempts,
};

const source: { readonly [name: string]: Attribute } = {
  address: (record) => addressOf(record.downstreamRemoteAddress),
  port: (record) => record.downstreamRemoteAddress.port,
};

const destination: { readonly [name: string]: Attribute } = {
  address: (record) => addressOf(record.downstreamLocalAddress),
  port: (record) => record.downstreamLocalAddress.port,
};

const xds: { readonly [name: string]: Attribute } = {
  cluster_name: (record) => some(record.upstreamCluster),
  cluster_metadata: (record) => metadata(record.clusterMetadata),
  route_name: (record) => some(record.routeName),
  upstream_host_metadata: (record) => metadata(record.upstreamMetadata),
};

/** What filters found out. */
const dynamic: { readonly [name: string]: Attribute } = {
  filter_metadata: ({ dynamicMetadata = new Map() }) => mapOf(Object.fromEntries(dynamicMetadata)),
};

export const attributes: {
  readonly [root: string]: { readonly [name: string]: Attribute };
} = { request, response, connection, upstream, source, destination, xds, metadata: dynamic };
