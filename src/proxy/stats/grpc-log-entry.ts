/**
 * What Envoy's access-log service is told of a request or of a connection: a record as an
 * `HTTPAccessLogEntry` or a `TCPAccessLogEntry`. What this data plane does not know (bytes on the wire
 * of each side, session ids) stays empty.
 */
import { X509Certificate } from "node:crypto";

import { utf8Of } from "../../base/latin1.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { newRequestId } from "../../telemetry/random-ids.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { moment, type Moment } from "../../telemetry/request-times.ts";
import { RequestMethod } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import {
  type AccessLogCommon,
  AccessLogType,
  HTTPAccessLogEntry,
  HTTPAccessLogEntry_HTTPVersion as HttpVersion,
  type ResponseFlags,
  ResponseFlags_Unauthorized_Reason as Reason,
  TCPAccessLogEntry,
  type TLSProperties,
  TLSProperties_TLSVersion as TlsVersion,
} from "../../wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import { StringValue } from "../../wire/gen/ts/google/protobuf/wrappers.ts";
import { protoAddress } from "../engine/proto-address.ts";
import { cipherSuiteId } from "./cipher-suites.ts";
import type { SpanTag } from "./span-tags.ts";

/** What configuration adds to every entry. */
export interface EntryPlan {
  readonly customTags: readonly SpanTag[];
  readonly filterStates: readonly string[];
  /** Lower-case names. */
  readonly requestHeaders: readonly string[];
  readonly responseHeaders: readonly string[];
  readonly responseTrailers: readonly string[];
}

const methods: ReadonlyMap<string, RequestMethod> = new Map(
  Object.entries(RequestMethod).filter(([, method]) => method > 0),
);

type Partially<T> = { [K in keyof T]?: T[K] };

const versions: Readonly<Record<string, HttpVersion>> = {
  "HTTP/1.0": HttpVersion.HTTP10,
  "HTTP/1.1": HttpVersion.HTTP11,
  "HTTP/2": HttpVersion.HTTP2,
};

export function encodeHttpEntry(
  record: RequestRecord,
  type: AccessLogType,
  plan: EntryPlan,
): Uint8Array {
  return HTTPAccessLogEntry.encode({
    commonProperties: commonOf(record, type, plan),
    protocolVersion: versions[record.protocol] ?? HttpVersion.PROTOCOL_UNSPECIFIED,
    request: requestOf(record, plan),
    response: responseOf(record, plan),
  }).finish();
}

export function encodeTcpEntry(
  record: RequestRecord,
  type: AccessLogType,
  plan: EntryPlan,
): Uint8Array {
  return TCPAccessLogEntry.encode({
    commonProperties: commonOf(record, type, plan),
    connectionProperties: {
      receivedBytes: BigInt(record.bytesReceived),
      sentBytes: BigInt(record.bytesSent),
    },
  }).finish();
}

function requestOf(
  record: RequestRecord,
  plan: EntryPlan,
): NonNullable<HTTPAccessLogEntry["request"]> {
  const header = (name: string): string => utf8Of(record.requestHeader(name) ?? "");
  return {
    requestMethod: methods.get(record.method) ?? RequestMethod.METHOD_UNSPECIFIED,
    scheme: record.scheme,
    authority: utf8Of(record.authority),
    path: utf8Of(record.path),
    userAgent: header("user-agent"),
    referer: header("referer"),
    forwardedFor: header("x-forwarded-for"),
    requestId: record.requestId,
    originalPath: header("x-envoy-original-path"),
    requestHeadersBytes: BigInt(record.headBytes?.("request") ?? 0),
    requestBodyBytes: BigInt(record.bytesReceived),
    requestHeaders: named(plan.requestHeaders, (name) => record.requestHeader(name)),
    upstreamHeaderBytesSent: 0n,
    downstreamHeaderBytesReceived: 0n,
  };
}

function responseOf(
  record: RequestRecord,
  plan: EntryPlan,
): NonNullable<HTTPAccessLogEntry["response"]> {
  return {
    responseCode: record.responseCode === 0 ? undefined : record.responseCode,
    responseHeadersBytes: BigInt(record.headBytes?.("response") ?? 0),
    responseBodyBytes: BigInt(record.bytesSent),
    responseHeaders: named(plan.responseHeaders, (name) => record.responseHeader(name)),
    responseTrailers: named(plan.responseTrailers, (name) => record.responseTrailer(name)),
    responseCodeDetails: record.responseCodeDetails,
    upstreamHeaderBytesReceived: 0n,
    downstreamHeaderBytesSent: 0n,
  };
}

function named(
  names: readonly string[],
  read: (name: string) => string | undefined,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of names) {
    const value = read(name);
    if (value !== undefined) found[name] = utf8Of(value);
  }
  return found;
}

function commonOf(record: RequestRecord, type: AccessLogType, plan: EntryPlan): AccessLogCommon {
  const isEnd = record.entryType === undefined;
  return {
    sampleRate: 0,
    downstreamRemoteAddress: addressOf(record.downstreamRemoteAddress),
    downstreamLocalAddress: addressOf(record.downstreamLocalAddress),
    downstreamDirectRemoteAddress: addressOf(
      record.downstreamDirectAddress ?? record.downstreamRemoteAddress,
    ),
    tlsProperties: tlsOf(record),
    startTime: new Date(record.startMs),
    ...timesOf(record),
    upstreamRemoteAddress: addressOf(record.upstreamHost),
    upstreamLocalAddress: addressOf(record.upstreamLocalAddress),
    upstreamCluster: record.upstreamCluster,
    responseFlags: flagsOf(record.responseFlags),
    metadata: metadataOf(record),
    upstreamTransportFailureReason: record.upstreamTransportFailureReason,
    routeName: record.routeName,
    filterStateObjects: statesOf(record, plan.filterStates),
    customTags: Object.fromEntries(
      plan.customTags
        .map(({ name, valueOf }) => [name, valueOf(record)])
        .filter(([, value]) => value !== ""),
    ),
    duration: isEnd ? durationOf(record.durationMs) : undefined,
    upstreamRequestAttemptCount: record.upstreamAttempts,
    connectionTerminationDetails: record.connectionTerminationDetails,
    streamId: streamIdOf(record),
    intermediateLogEntry: !isEnd,
    downstreamTransportFailureReason: record.downstreamTransportFailureReason ?? "",
    downstreamWireBytesSent: 0n,
    downstreamWireBytesReceived: 0n,
    upstreamWireBytesSent: 0n,
    upstreamWireBytesReceived: 0n,
    accessLogType: type,
  };
}

/** Connections have no id of their own until somebody is told of them: all entries tell the same. */
const streamIds = new WeakMap<RequestRecord, string>();

function streamIdOf(record: RequestRecord): string {
  if (record.kind === "http") return record.requestId;
  const id = streamIds.get(record) ?? newRequestId();
  streamIds.set(record, id);
  return id;
}

function addressOf(
  value: SocketAddress | undefined,
): AccessLogCommon["downstreamRemoteAddress"] | undefined {
  return value === undefined || value.address === "" ? undefined : protoAddress(value);
}

const nanosecondsPerMs = 1e6;

function durationOf(ms: number): AccessLogCommon["duration"] {
  const nanoseconds = Math.max(0, Math.round(ms * nanosecondsPerMs));
  return { seconds: BigInt(Math.floor(nanoseconds / 1e9)), nanos: nanoseconds % 1e9 };
}

type Times = Pick<
  AccessLogCommon,
  | "timeToLastRxByte"
  | "timeToFirstUpstreamTxByte"
  | "timeToLastUpstreamTxByte"
  | "timeToFirstUpstreamRxByte"
  | "timeToLastUpstreamRxByte"
  | "timeToFirstDownstreamTxByte"
  | "timeToLastDownstreamTxByte"
>;

function timesOf({ times }: RequestRecord): Times {
  const at = (which: Moment): AccessLogCommon["duration"] => {
    const ms = (times?.at[which] ?? Number.NaN) - (times?.at[moment.requestBegin] ?? Number.NaN);
    return Number.isNaN(ms) ? undefined : durationOf(ms);
  };
  return {
    timeToLastRxByte: at(moment.requestEnd),
    timeToFirstUpstreamTxByte: at(moment.sendBegin),
    timeToLastUpstreamTxByte: at(moment.sendEnd),
    timeToFirstUpstreamRxByte: at(moment.answerBegin),
    timeToLastUpstreamRxByte: at(moment.answerEnd),
    timeToFirstDownstreamTxByte: at(moment.responseBegin),
    timeToLastDownstreamTxByte: at(moment.responseEnd),
  };
}

function metadataOf({ dynamicMetadata }: RequestRecord): AccessLogCommon["metadata"] {
  if (dynamicMetadata === undefined || dynamicMetadata.size === 0) return undefined;
  return { filterMetadata: Object.fromEntries(dynamicMetadata), typedFilterMetadata: {} };
}

/** Filter states are texts here. */
function statesOf(
  record: RequestRecord,
  keys: readonly string[],
): AccessLogCommon["filterStateObjects"] {
  const states: AccessLogCommon["filterStateObjects"] = {};
  for (const key of keys) {
    const value = record.filterState?.(key);
    if (value === undefined) continue;
    states[key] = {
      typeUrl: "type.googleapis.com/google.protobuf.StringValue",
      value: StringValue.encode({ value }).finish(),
    };
  }
  return states;
}

const tlsVersions: Readonly<Record<string, TlsVersion>> = {
  TLSv1: TlsVersion.TLSv1,
  "TLSv1.1": TlsVersion.TLSv1_1,
  "TLSv1.2": TlsVersion.TLSv1_2,
  "TLSv1.3": TlsVersion.TLSv1_3,
};

function tlsOf(record: RequestRecord): TLSProperties | undefined {
  const { downstreamTls: details, requestedServerName: tlsSniHostname } = record;
  if (details === undefined) {
    if (tlsSniHostname === "") return undefined;
    return { ...plainTls, tlsSniHostname };
  }
  const der = details.peerCertificateDer;
  const names = (uris: readonly string[]) => uris.map((uri) => ({ uri }));
  return {
    ...plainTls,
    tlsSniHostname,
    tlsVersion: tlsVersions[details.version] ?? TlsVersion.VERSION_UNSPECIFIED,
    tlsCipherSuite: cipherSuiteId(details.cipher),
    localCertificateProperties: {
      subjectAltName: names(record.downstreamLocalUriSans),
      subject: "",
      issuer: "",
    },
    peerCertificateProperties: {
      subjectAltName: names(record.downstreamPeerUriSans),
      subject: record.downstreamPeerSubject ?? "",
      issuer: der === undefined ? "" : issuerOf(der),
    },
  };
}

const plainTls: TLSProperties = {
  tlsVersion: TlsVersion.VERSION_UNSPECIFIED,
  tlsCipherSuite: undefined,
  tlsSniHostname: "",
  localCertificateProperties: undefined,
  peerCertificateProperties: undefined,
  tlsSessionId: "",
  ja3Fingerprint: "",
};

/** A connection carries many requests with one certificate. */
const issuers = new WeakMap<Uint8Array, string>();

function issuerOf(der: Uint8Array): string {
  const known = issuers.get(der);
  if (known !== undefined) return known;
  const issuer = new X509Certificate(der).issuer.split("\n").toReversed().join(",");
  issuers.set(der, issuer);
  return issuer;
}

type FlagName = Exclude<keyof ResponseFlags, "_unknownFields" | "unauthorizedDetails">;

const flagNames: Readonly<Record<string, FlagName>> = {
  LH: "failedLocalHealthcheck",
  UH: "noHealthyUpstream",
  UT: "upstreamRequestTimeout",
  LR: "localReset",
  UR: "upstreamRemoteReset",
  UF: "upstreamConnectionFailure",
  UC: "upstreamConnectionTermination",
  UO: "upstreamOverflow",
  NR: "noRouteFound",
  DI: "delayInjected",
  FI: "faultInjected",
  RL: "rateLimited",
  RLSE: "rateLimitServiceError",
  DC: "downstreamConnectionTermination",
  URX: "upstreamRetryLimitExceeded",
  SI: "streamIdleTimeout",
  IH: "invalidEnvoyRequestHeaders",
  DPE: "downstreamProtocolError",
  UMSDR: "upstreamMaxStreamDurationReached",
  NFCF: "noFilterConfigFound",
  DT: "durationTimeout",
  UPE: "upstreamProtocolError",
  NC: "noClusterFound",
  OM: "overloadManager",
  DF: "dnsResolutionFailure",
  DR: "downstreamRemoteReset",
};

const noFlags: ResponseFlags = {
  failedLocalHealthcheck: false,
  noHealthyUpstream: false,
  upstreamRequestTimeout: false,
  localReset: false,
  upstreamRemoteReset: false,
  upstreamConnectionFailure: false,
  upstreamConnectionTermination: false,
  upstreamOverflow: false,
  noRouteFound: false,
  delayInjected: false,
  faultInjected: false,
  rateLimited: false,
  unauthorizedDetails: undefined,
  rateLimitServiceError: false,
  downstreamConnectionTermination: false,
  upstreamRetryLimitExceeded: false,
  streamIdleTimeout: false,
  invalidEnvoyRequestHeaders: false,
  downstreamProtocolError: false,
  upstreamMaxStreamDurationReached: false,
  responseFromCacheFilter: false,
  noFilterConfigFound: false,
  durationTimeout: false,
  upstreamProtocolError: false,
  noClusterFound: false,
  overloadManager: false,
  dnsResolutionFailure: false,
  downstreamRemoteReset: false,
};

/** Absent where there are none; flags that the message has no field for (DO) are left out, as in Envoy. */
function flagsOf(flags: string): ResponseFlags | undefined {
  if (flags === "") return undefined;
  const told: Partially<ResponseFlags> = {};
  for (const flag of flags.split(",")) {
    const name = flagNames[flag];
    if (name !== undefined) told[name] = true;
    if (flag === "UAEX") told.unauthorizedDetails = { reason: Reason.EXTERNAL_SERVICE };
  }
  return Object.keys(told).length === 0 ? undefined : { ...noFlags, ...told };
}
