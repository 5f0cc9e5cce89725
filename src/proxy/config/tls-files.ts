/**
 * Certificates and trust anchors that a TLS context names as files, as secrets under the names that
 * Istio gives those: whoever has the proxy's secrets reads them, and looks whether they change.
 */
import type {
  CertificateValidationContext,
  TlsCertificate,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import {
  CommonTlsContext_CombinedCertificateValidationContext as CombinedContext,
  type CommonTlsContext,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { SdsSecretConfig } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/secret.ts";

export function withFileSecrets<T extends { commonTlsContext?: CommonTlsContext | undefined }>(
  tls: T,
): T {
  const common = tls.commonTlsContext;
  if (common === undefined) return tls;
  return { ...tls, commonTlsContext: { ...common, ...certificatesOf(common), ...rootsOf(common) } };
}

/** All of them or none: in two lists their order would be lost. */
function certificatesOf(common: CommonTlsContext): Partial<CommonTlsContext> {
  const names = common.tlsCertificates.map(nameOf);
  if (names.length === 0 || names.includes(undefined)) return {};
  return {
    tlsCertificates: [],
    tlsCertificateSdsSecretConfigs: [
      ...common.tlsCertificateSdsSecretConfigs,
      ...names.map((name) => SdsSecretConfig.fromPartial({ name: name ?? "" })),
    ],
  };
}

function nameOf(certificate: TlsCertificate): string | undefined {
  const chain = certificate.certificateChain?.filename;
  const key = certificate.privateKey?.filename;
  if (chain === undefined || key === undefined) return undefined;
  if (!isNameable(chain) || !isNameable(key)) return undefined;
  const { pkcs12, privateKeyProvider, password, ocspStaple, tlsParams } = certificate;
  const others = [pkcs12, privateKeyProvider, password, ocspStaple, tlsParams];
  // A secret would lose them.
  if (others.some((one) => one !== undefined)) return undefined;
  if (certificate.signedCertificateTimestamp.length > 0) return undefined;
  return `file-cert:${chain}~${key}`;
}

/** Others no such name leads to: they stay where they stand, and are refused there. */
function isNameable(path: string): boolean {
  return path.startsWith("/") && !path.includes("~");
}

function rootsOf(common: CommonTlsContext): Partial<CommonTlsContext> {
  const { validationContext } = common;
  const path = validationContext?.trustedCa?.filename;
  if (validationContext === undefined || path === undefined || !path.startsWith("/")) return {};
  const rest: CertificateValidationContext = { ...validationContext, trustedCa: undefined };
  return {
    validationContext: undefined,
    combinedValidationContext: CombinedContext.fromPartial({
      defaultValidationContext: rest,
      validationContextSdsSecretConfig: { name: `file-root:${path}` },
    }),
  };
}
