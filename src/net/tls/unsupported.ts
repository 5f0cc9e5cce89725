/** What a TLS context may not say, because a backend would not do it: a check left out in silence would let strangers in. */
import { HeddleError } from "../../base/error.ts";
import {
  type CertificateValidationContext,
  CertificateValidationContext_TrustChainVerification as TrustChain,
  type TlsCertificate,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import type { CommonTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";

/** Throws `tls-unsupported` with the first field that would do nothing. */
export function refuseUnsupported(common: CommonTlsContext, isClient: boolean): void {
  const { tlsCertificateSdsSecretConfigs: sds, tlsCertificates: inline } = common;
  const refused: Readonly<Record<string, boolean>> = {
    // As Envoy; a client has one, for who asks for it does not say whose.
    "more than one certificate of a client": isClient && sds.length + inline.length > 1,
    "tls_certificates beside tls_certificate_sds_secret_configs":
      sds.length > 0 && inline.length > 0,
    certificate_provider:
      common.tlsCertificateProviderInstance !== undefined ||
      common.tlsCertificateCertificateProvider !== undefined ||
      common.tlsCertificateCertificateProviderInstance !== undefined ||
      common.validationContextCertificateProvider !== undefined ||
      common.validationContextCertificateProviderInstance !== undefined,
    ...refusedParts(inline),
    custom_tls_certificate_selector: common.customTlsCertificateSelector !== undefined,
    custom_handshaker: common.customHandshaker !== undefined,
    key_log: common.keyLog !== undefined,
    validation_context_certificate_provider:
      common.combinedValidationContext?.validationContextCertificateProvider !== undefined ||
      common.combinedValidationContext?.validationContextCertificateProviderInstance !== undefined,
  };
  refuseAny(refused);
}

/** Neither backend can staple: Node's TLS asks a server of its own, which there is none of. */
function refusedParts(certificates: readonly TlsCertificate[]): Readonly<Record<string, boolean>> {
  const refused: Record<string, boolean> = {};
  for (const [i, certificate] of certificates.entries()) {
    const { pkcs12, privateKeyProvider, password, ocspStaple, tlsParams } = certificate;
    const { signedCertificateTimestamp: timestamps } = certificate;
    const at = `tls_certificates[${i}]`;
    refused[`${at}.pkcs12`] = pkcs12 !== undefined;
    refused[`${at}.private_key_provider`] = privateKeyProvider !== undefined;
    refused[`${at}.password`] = password !== undefined;
    refused[`${at}.ocsp_staple`] = ocspStaple !== undefined;
    refused[`${at}.tls_params`] = tlsParams !== undefined;
    refused[`${at}.signed_certificate_timestamp`] = timestamps.length > 0;
  }
  return refused;
}

/** The same of what peers are asked. */
export function refuseUnsupportedValidation(
  validation: CertificateValidationContext,
  hasTrustedSecret: boolean,
): void {
  refuseAny({
    ca_certificate_provider_instance: validation.caCertificateProviderInstance !== undefined,
    system_root_certs: validation.systemRootCerts !== undefined,
    require_signed_certificate_timestamp: validation.requireSignedCertificateTimestamp === true,
    "crl without trusted CA":
      validation.crl !== undefined && validation.trustedCa === undefined && !hasTrustedSecret,
    // As Envoy: names that nobody vouches for are anybody's.
    "names of peers without trusted CA":
      validation.matchTypedSubjectAltNames.length + validation.matchSubjectAltNames.length > 0 &&
      validation.trustedCa === undefined &&
      validation.customValidatorConfig === undefined &&
      !hasTrustedSecret,
    allow_expired_certificate: validation.allowExpiredCertificate,
    "trust_chain_verification of this kind":
      validation.trustChainVerification !== TrustChain.VERIFY_TRUST_CHAIN &&
      validation.trustChainVerification !== TrustChain.ACCEPT_UNTRUSTED,
    "custom_validator_config beside other checks than of names":
      validation.customValidatorConfig !== undefined &&
      (validation.trustedCa !== undefined ||
        validation.crl !== undefined ||
        validation.verifyCertificateHash.length > 0 ||
        validation.verifyCertificateSpki.length > 0 ||
        validation.trustChainVerification !== TrustChain.VERIFY_TRUST_CHAIN),
    max_verify_depth: validation.maxVerifyDepth !== undefined,
    only_verify_leaf_cert_crl: validation.onlyVerifyLeafCertCrl,
    suppress_client_ca_list: validation.suppressClientCaList,
  });
}

function refuseAny(refused: Readonly<Record<string, boolean>>): void {
  for (const [what, isPresent] of Object.entries(refused)) {
    if (isPresent) throw new HeddleError("tls-unsupported", `${what} is not supported`);
  }
}
