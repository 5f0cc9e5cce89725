/**
 * Certificates and trust anchors that a TLS context names as files, as secrets under the names that
 * Istio gives those: whoever has the proxy's secrets reads them, and looks whether they change.
 */
import { CertificateValidationContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
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
  return { ...tls, commonTlsContext: { ...common, ...certificateOf(common), ...rootsOf(common) } };
}

function certificateOf(common: CommonTlsContext): Partial<CommonTlsContext> {
  const [first, second] = common.tlsCertificates;
  const chain = first?.certificateChain?.filename;
  const key = first?.privateKey?.filename;
  if (chain === undefined || key === undefined || second !== undefined) return {};
  if (!isNameable(chain) || !isNameable(key)) return {};
  const { pkcs12, privateKeyProvider, password, ocspStaple, tlsParams } = first ?? {};
  const others = [pkcs12, privateKeyProvider, password, ocspStaple, tlsParams];
  // A secret would lose them.
  if (others.some((one) => one !== undefined)) return {};
  return {
    tlsCertificates: [],
    tlsCertificateSdsSecretConfigs: [
      ...common.tlsCertificateSdsSecretConfigs,
      SdsSecretConfig.fromPartial({ name: `file-cert:${chain}~${key}` }),
    ],
  };
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
