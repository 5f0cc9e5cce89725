/** An HttpConnectionManager message as plain, decided values; what cannot be honoured is refused. */
import type { HeadLimits } from "../../wire/http1-head.ts";
import {
  HttpConnectionManager_CodecType as CodecType,
  HttpConnectionManager_ForwardClientCertDetails as ClientCertDetails,
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashesAction,
  HttpConnectionManager_ServerHeaderTransformation as ServerHeader,
  type HttpConnectionManager,
} from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { HttpProtocolOptions_HeadersWithUnderscoresAction as Underscores } from "../../wire/gen/ts/envoy/config/core/v3/protocol.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { compileHttp2Settings, type Http2ServerSettings } from "../http2/settings.ts";
import { parseIpRange } from "../engine/ip.ts";
import { compileHttp1, type Http1Plan, usualHttp1 } from "./http1-plan.ts";
import type { ClientTrust } from "./client-address.ts";
import type { EscapedSlashes, PathRules } from "./path.ts";
import { type Propagation, propagationOf } from "./trace-propagation.ts";
import { compileRequestIds, type RequestIdSettings } from "./request-ids.ts";

export interface HttpSettings {
  readonly statPrefix: string;
  /** `auto`: what TLS agreed on, or what the first bytes say. */
  readonly codec: "auto" | "http1" | "http2";
  readonly http2: Http2ServerSettings;
  readonly limits: HeadLimits;
  readonly http1: Http1Plan;
  readonly isHttp10Allowed: boolean;
  readonly defaultHostForHttp10: string;
  readonly allowsAbsoluteUrl: boolean;
  /** Also methods that no registry knows. */
  readonly allowsCustomMethods: boolean;
  readonly forwardsTrailers: boolean;
  /** A request that is whole, but invalid, leaves its connection open. */
  readonly keepsAfterInvalid: boolean;
  readonly underscores: "allow" | "reject" | "drop";
  /** Milliseconds; 0 is none. */
  readonly idleTimeoutMs: number;
  readonly streamIdleTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly headersTimeoutMs: number;
  readonly maxStreamDurationMs: number;
  /** Upstreams that want to know are told whose connection a request came on. */
  readonly tellsClient: boolean;
  readonly maxConnectionDurationMs: number;
  /** 0 is any number. */
  readonly maxRequestsPerConnection: number;
  /** How long a client may take to close after the last answer. */
  readonly delayedCloseMs: number;
  /** `Expect: 100-continue` is the upstream's to answer. */
  readonly passesContinue: boolean;
  readonly paths: PathRules;
  readonly stripPort: "no" | "matching" | "any";
  readonly stripsTrailingDot: boolean;
  readonly trust: ClientTrust;
  readonly appendsForwardedPort: boolean;
  readonly via: string;
  readonly serverName: string;
  readonly serverHeader: "overwrite" | "append-if-absent" | "pass-through";
  readonly generatesRequestId: boolean;
  readonly keepsExternalRequestId: boolean;
  readonly answersRequestId: boolean;
  readonly clientCert:
    | "sanitize"
    | "forward-only"
    | "append-forward"
    | "sanitize-set"
    | "always-forward-only";
  readonly clientCertDetails: {
    readonly subject: boolean;
    readonly dns: boolean;
    readonly uri: boolean;
    /** The certificate itself. */
    readonly cert: boolean;
    /** It, and what the client sent behind it. */
    readonly chain: boolean;
  };
  readonly tracing: TracingSettings | undefined;
  /** Lower-case protocols of `Upgrade` (and `connect`) → whether they are on. */
  readonly upgrades: ReadonlyMap<string, boolean>;
}

export interface TracingSettings {
  /** Shares of requests, 0 to 1. */
  readonly clientSampling: number;
  readonly randomSampling: number;
  readonly overallSampling: number;
  /** The request gets a span of its own towards the upstream. */
  readonly spawnsUpstreamSpan: boolean;
  /** What callers say of a trace goes on as it came; absent: the next hop is told of this one. */
  readonly isSilent?: boolean;
  readonly propagation: Propagation;
  readonly ids: RequestIdSettings;
}

const oneHourMs = 3_600_000;

export function compileSettings(config: HttpConnectionManager): HttpSettings {
  if (config.codecType === CodecType.HTTP3) refuse("codec_type", "HTTP3 is not supported");
  const ids = compileRequestIds(
    config.requestIdExtension?.typedConfig,
    "request_id_extension.typed_config",
  );
  const common = config.commonHttpProtocolOptions;
  const http1 = config.httpProtocolOptions;
  const limits = {
    headBytesMax: (config.maxRequestHeadersKb ?? 60) * 1024,
    fieldsMax: common?.maxHeadersCount ?? 100,
  };
  return {
    statPrefix: config.statPrefix,
    codec: codec(config.codecType),
    http2: compileHttp2Settings(config.http2ProtocolOptions, {
      limits,
      resetsMalformed: config.streamErrorOnInvalidHttpMessage ?? false,
      drainMs: durationMs(config.drainTimeout) ?? 5000,
    }),
    limits,
    http1: compileHttp1(http1, "http_protocol_options") ?? usualHttp1,
    isHttp10Allowed: http1?.acceptHttp10 ?? false,
    defaultHostForHttp10: http1?.defaultHostForHttp10 ?? "",
    allowsAbsoluteUrl: http1?.allowAbsoluteUrl ?? true,
    allowsCustomMethods: http1?.allowCustomMethods ?? false,
    keepsAfterInvalid:
      http1?.overrideStreamErrorOnInvalidHttpMessage ??
      config.streamErrorOnInvalidHttpMessage ??
      false,
    forwardsTrailers: http1?.enableTrailers ?? false,
    underscores: underscores(common?.headersWithUnderscoresAction ?? Underscores.ALLOW),
    idleTimeoutMs: durationMs(common?.idleTimeout) ?? oneHourMs,
    streamIdleTimeoutMs: durationMs(config.streamIdleTimeout) ?? 300_000,
    requestTimeoutMs: durationMs(config.requestTimeout) ?? 0,
    headersTimeoutMs: durationMs(config.requestHeadersTimeout) ?? 0,
    maxStreamDurationMs: durationMs(common?.maxStreamDuration) ?? 0,
    tellsClient: config.addProxyProtocolConnectionState ?? true,
    maxConnectionDurationMs: durationMs(common?.maxConnectionDuration) ?? 0,
    maxRequestsPerConnection: common?.maxRequestsPerConnection ?? 0,
    delayedCloseMs: durationMs(config.delayedCloseTimeout) ?? 1000,
    passesContinue: config.proxy100Continue,
    paths: {
      normalize: config.normalizePath ?? false,
      mergeSlashes: config.mergeSlashes,
      escapedSlashes: escapedSlashes(config.pathWithEscapedSlashesAction),
    },
    stripPort:
      config.stripAnyHostPort === true ? "any" : config.stripMatchingHostPort ? "matching" : "no",
    stripsTrailingDot: config.stripTrailingHostDot,
    upgrades: new Map(
      config.upgradeConfigs.map((upgrade) => [
        upgrade.upgradeType.toLowerCase(),
        upgrade.enabled ?? true,
      ]),
    ),
    ...identitySettings(config, ids),
  };
}

type IdentitySettings = Pick<
  HttpSettings,
  | "trust"
  | "appendsForwardedPort"
  | "via"
  | "serverName"
  | "serverHeader"
  | "generatesRequestId"
  | "keepsExternalRequestId"
  | "answersRequestId"
  | "clientCert"
  | "clientCertDetails"
  | "tracing"
>;

function identitySettings(config: HttpConnectionManager, ids: RequestIdSettings): IdentitySettings {
  const set = config.setCurrentClientCertDetails;
  return {
    trust: {
      usesRemoteAddress: config.useRemoteAddress ?? false,
      trustedHops: config.xffNumTrustedHops,
      skipsForwardedFor: config.skipXffAppend,
      internalAddresses: (config.internalAddressConfig?.cidrRanges ?? []).map((range, i) =>
        parseIpRange(range, `internal_address_config.cidr_ranges[${i}]`),
      ),
      areUnixSocketsInternal: config.internalAddressConfig?.unixSockets ?? false,
    },
    appendsForwardedPort: config.appendXForwardedPort,
    via: config.via,
    serverName: config.serverName === "" ? "envoy" : config.serverName,
    serverHeader: serverHeader(config.serverHeaderTransformation),
    generatesRequestId: config.generateRequestId ?? true,
    keepsExternalRequestId: config.preserveExternalRequestId,
    answersRequestId: config.alwaysSetRequestIdInResponse,
    clientCert: clientCert(config.forwardClientCertDetails),
    clientCertDetails: {
      subject: set?.subject ?? false,
      dns: set?.dns ?? false,
      uri: set?.uri ?? false,
      cert: set?.cert ?? false,
      chain: set?.chain ?? false,
    },
    tracing:
      config.tracing === undefined
        ? undefined
        : {
            clientSampling: (config.tracing.clientSampling?.value ?? 100) / 100,
            randomSampling: (config.tracing.randomSampling?.value ?? 100) / 100,
            overallSampling: (config.tracing.overallSampling?.value ?? 100) / 100,
            spawnsUpstreamSpan: config.tracing.spawnUpstreamSpan ?? false,
            isSilent: config.tracing.noContextPropagation,
            propagation: propagationOf(config.tracing),
            ids,
          },
  };
}

function codec(type: CodecType): HttpSettings["codec"] {
  if (type === CodecType.HTTP1) return "http1";
  return type === CodecType.HTTP2 ? "http2" : "auto";
}

function underscores(action: Underscores): HttpSettings["underscores"] {
  if (action === Underscores.REJECT_REQUEST) return "reject";
  return action === Underscores.DROP_HEADER ? "drop" : "allow";
}

function escapedSlashes(action: EscapedSlashesAction): EscapedSlashes {
  if (action === EscapedSlashesAction.REJECT_REQUEST) return "reject";
  if (action === EscapedSlashesAction.UNESCAPE_AND_REDIRECT) return "redirect";
  return action === EscapedSlashesAction.UNESCAPE_AND_FORWARD ? "forward" : "keep";
}

function serverHeader(transformation: ServerHeader): HttpSettings["serverHeader"] {
  if (transformation === ServerHeader.APPEND_IF_ABSENT) return "append-if-absent";
  return transformation === ServerHeader.PASS_THROUGH ? "pass-through" : "overwrite";
}

function clientCert(details: ClientCertDetails): HttpSettings["clientCert"] {
  if (details === ClientCertDetails.FORWARD_ONLY) return "forward-only";
  if (details === ClientCertDetails.APPEND_FORWARD) return "append-forward";
  if (details === ClientCertDetails.SANITIZE_SET) return "sanitize-set";
  return details === ClientCertDetails.ALWAYS_FORWARD_ONLY ? "always-forward-only" : "sanitize";
}
