/**
 * TLS between proxies: certificates and roots come from the agent (SDS `default`, `ROOTCA`), never
 * from the control plane; TLS 1.3 on both sides; upstream identities are checked by SPIFFE id.
 */
import type { ClientTls } from "../../model/destination-rule.ts";
import { ApiConfigSource_ApiType } from "../../wire/gen/es/envoy/config/core/v3/config_source_pb.ts";
import { ApiVersion } from "../../wire/gen/es/envoy/config/core/v3/config_source_pb.ts";
import type { TransportSocketSchema } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import { RawBufferSchema } from "../../wire/gen/es/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts";
import type { CertificateValidationContextSchema } from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/common_pb.ts";
import { TlsParameters_TlsProtocol } from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/common_pb.ts";
import { SubjectAltNameMatcher_SanType } from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/common_pb.ts";
import type { SdsSecretConfigSchema } from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type { CommonTlsContextSchema } from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import type { Init } from "./proto.ts";
import { duration, typedConfig } from "./proto.ts";

export type TransportSocketInit = Init<typeof TransportSocketSchema>;
type CommonInit = Init<typeof CommonTlsContextSchema>;
type ValidationInit = Init<typeof CertificateValidationContextSchema>;

/** What a proxy offers upstream, so that the other side finds the right filter chain. */
export const upstreamAlpn = {
  http1: ["istio-http/1.1", "istio", "http/1.1"],
  http2: ["istio-h2", "istio", "h2"],
  tcp: ["istio-peer-exchange", "istio"],
  // No name that a peer's chain would choose: it looks at the first bytes, and takes either version.
  downstream: ["istio-http/1.1", "istio"],
} as const;

/** What tells a peer proxy from any other TLS client. */
export const meshAlpn = {
  http: ["istio-http/1.0", "istio-http/1.1", "istio-h2"],
  tcp: ["istio-peer-exchange", "istio"],
  any: ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"],
} as const;

const sdsCluster = "sds-grpc";

function sdsSecret(name: string): Init<typeof SdsSecretConfigSchema> {
  return {
    name,
    sdsConfig: {
      configSourceSpecifier: {
        case: "apiConfigSource",
        value: {
          apiType: ApiConfigSource_ApiType.GRPC,
          transportApiVersion: ApiVersion.V3,
          setNodeOnFirstMessageOnly: true,
          grpcServices: [
            { targetSpecifier: { case: "envoyGrpc", value: { clusterName: sdsCluster } } },
          ],
        },
      },
      initialFetchTimeout: duration(0),
      resourceApiVersion: ApiVersion.V3,
    },
  };
}

const onlyTls13 = {
  tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
  tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
};

function meshTls(alpnProtocols: readonly string[], validation: ValidationInit): CommonInit {
  return {
    tlsParams: onlyTls13,
    alpnProtocols: [...alpnProtocols],
    tlsCertificateSdsSecretConfigs: [sdsSecret("default")],
    validationContextType: {
      case: "combinedValidationContext",
      value: {
        defaultValidationContext: validation,
        validationContextSdsSecretConfig: sdsSecret("ROOTCA"),
      },
    },
  };
}

function sanMatchers(
  names: readonly string[],
  sanType: SubjectAltNameMatcher_SanType,
): NonNullable<ValidationInit["matchTypedSubjectAltNames"]> {
  return names.map((value) => ({ sanType, matcher: { matchPattern: { case: "exact", value } } }));
}

/** Mutual TLS to a peer proxy whose identity must be one of `identities` (any of the mesh when empty). */
export function meshUpstreamTls(options: {
  readonly alpn: readonly string[];
  readonly sni: string;
  readonly identities: readonly string[];
}): TransportSocketInit {
  const validation: ValidationInit = {
    matchTypedSubjectAltNames: sanMatchers(options.identities, SubjectAltNameMatcher_SanType.URI),
  };
  return {
    name: "envoy.transport_sockets.tls",
    configType: typedConfig(UpstreamTlsContextSchema, {
      commonTlsContext: meshTls(options.alpn, validation),
      sni: options.sni,
    }),
  };
}

/** Mutual TLS from peer proxies; any identity of the mesh's root, policies decide the rest. */
export function meshDownstreamTls(alpn: readonly string[]): TransportSocketInit {
  return {
    name: "envoy.transport_sockets.tls",
    configType: typedConfig(DownstreamTlsContextSchema, {
      requireClientCertificate: true,
      commonTlsContext: meshTls(alpn, {}),
    }),
  };
}

export function rawBuffer(): TransportSocketInit {
  return {
    name: "envoy.transport_sockets.raw_buffer",
    configType: typedConfig(RawBufferSchema, {}),
  };
}

/** TLS to something outside the mesh (modes SIMPLE and MUTUAL), with files beside the proxy. */
export function externalUpstreamTls(
  tls: ClientTls,
  options: {
    readonly alpn: readonly string[];
    readonly hostname: string;
    readonly subjectAltNames: readonly string[];
  },
): TransportSocketInit {
  const file = (filename: string) =>
    ({ specifier: { case: "filename", value: filename } }) as const;
  const names = tls.subjectAltNames ?? options.subjectAltNames;
  const isVerified = tls.insecureSkipVerify !== true;
  // Without a list of names the certificate must be for the name that is asked for.
  const expected = names.length > 0 ? names : [tls.sni ?? options.hostname];
  const validation: ValidationInit = isVerified
    ? {
        trustedCa: file(tls.caCertificates ?? "/etc/ssl/certs/ca-certificates.crt"),
        ...(tls.caCrl === undefined ? {} : { crl: file(tls.caCrl) }),
        matchTypedSubjectAltNames: sanMatchers(expected, SubjectAltNameMatcher_SanType.DNS),
      }
    : {};
  const certificates =
    tls.mode === "MUTUAL" && tls.clientCertificate !== undefined && tls.privateKey !== undefined
      ? [{ certificateChain: file(tls.clientCertificate), privateKey: file(tls.privateKey) }]
      : [];
  return {
    name: "envoy.transport_sockets.tls",
    configType: typedConfig(UpstreamTlsContextSchema, {
      sni: tls.sni ?? options.hostname,
      commonTlsContext: {
        tlsParams: { tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_2 },
        alpnProtocols: [...options.alpn],
        tlsCertificates: certificates,
        ...(isVerified
          ? { validationContextType: { case: "validationContext", value: validation } }
          : {}),
      },
    }),
  };
}
