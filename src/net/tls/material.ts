/**
 * From an xDS CommonTlsContext and the secrets it names to an OpenSSL context. Runs when
 * configuration or a secret changes, never for a connection. What it does not know it refuses: a
 * check left out in silence would let strangers in.
 */
import { constants, hash, X509Certificate } from "node:crypto";
import tls from "node:tls";

import { HeddleError } from "../../base/error.ts";
import { decodeCertificateNames } from "../../wire/certificate-names.ts";
import type { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import {
  CertificateValidationContext,
  CertificateValidationContext_TrustChainVerification as TrustChain,
  type TlsCertificate,
  TlsParameters_TlsProtocol as Protocol,
  type TlsParameters,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import type { CommonTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { SecretSource } from "../secret-source.ts";
import { compilePins, type PeerPins } from "./peer-pins.ts";
import { compilePeerNames, type PeerNameCheck } from "./peer-names.ts";
import { compileSpiffeBundles, type SpiffeBundles } from "./spiffe-bundles.ts";

/** What is fixed by configuration; secrets are looked up by these names. */
export interface TlsPlan {
  readonly certificateSecret: string | undefined;
  readonly certificate: { readonly chainPem: string; readonly privateKeyPem: string } | undefined;
  readonly validationSecret: string | undefined;
  readonly trustedCaPem: string | undefined;
  /** What issuers have taken back; undefined: it is not looked at. */
  readonly crlPem: string | undefined;
  /** Whether there is, or will be, something peers must chain to. */
  readonly canVerify: boolean;
  readonly peerNames: PeerNameCheck | undefined;
  /** Certificates that are accepted, beside what else is asked of them. */
  readonly pins: PeerPins | undefined;
  /** Peers are held to the authorities of the trust domain that they name. */
  readonly spiffe: SpiffeBundles | undefined;
  /** Peers are let in whoever vouches for them, and whatever their names and keys. */
  readonly acceptsUntrusted: boolean;
  readonly alpn: readonly string[];
  readonly versions: {
    readonly minVersion: tls.SecureVersion;
    readonly maxVersion: tls.SecureVersion;
  };
  readonly ciphers: string;
  readonly yieldsToChaCha: boolean;
  readonly curves: string | undefined;
  /** Secret names that, when they change, make the context out of date. */
  readonly secretNames: ReadonlySet<string>;
}

export interface TlsParts {
  readonly minVersion: tls.SecureVersion;
  readonly maxVersion: tls.SecureVersion;
  /** Names of TLS 1.3 and 1.2, in one list. */
  readonly ciphers: string;
  /** A client whose first is ChaCha20 has it, whatever stands first here. */
  readonly yieldsToChaCha: boolean;
  readonly curves: string | undefined;
  readonly chainPem: string | undefined;
  readonly privateKeyPem: string | undefined;
  readonly trustedCaPem: string | undefined;
  readonly crlPem: string | undefined;
}

export interface TlsMaterial {
  readonly context: tls.SecureContext;
  /** What the context was made of, for a backend that makes its own. */
  readonly parts: TlsParts;
  readonly localUriSans: readonly string[];
  /** Everything that our own certificate says who we are by. */
  readonly localNames: readonly string[];
  /** Whether the peer's chain is verified: false only where configuration names no trust anchor. */
  readonly verifiesPeer: boolean;
}

// AES-128 first: it is what the peers' processors do fastest, and 1.3 leaves no weak choice.
const ciphers13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
const ciphers12 = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
];

/** Throws `tls-unsupported` for what it cannot honour. */
export function planTls(common: CommonTlsContext): TlsPlan {
  refuseUnsupported(common);
  const [certificateSds] = common.tlsCertificateSdsSecretConfigs;
  const [inline] = common.tlsCertificates;
  const combined = common.combinedValidationContext;
  const validation = combined?.defaultValidationContext ?? common.validationContext;
  const validationSds =
    combined?.validationContextSdsSecretConfig ?? common.validationContextSdsSecretConfig;
  if (validation !== undefined)
    refuseUnsupportedValidation(validation, validationSds !== undefined);
  // Refused now, not when the first peer comes.
  if (validation?.crl !== undefined) revocationLists(inlineText(validation.crl, "crl"));
  const custom = validation?.customValidatorConfig;
  const spiffe = custom === undefined ? undefined : compileSpiffeBundles(custom);
  const secretNames = new Set<string>();
  if (certificateSds !== undefined) secretNames.add(certificateSds.name);
  if (validationSds !== undefined) secretNames.add(validationSds.name);
  return {
    certificateSecret: certificateSds?.name,
    certificate:
      inline === undefined
        ? undefined
        : {
            chainPem: inlineText(inline.certificateChain, "certificate_chain"),
            privateKeyPem: inlineText(inline.privateKey, "private_key"),
          },
    validationSecret: validationSds?.name,
    trustedCaPem:
      spiffe?.trustedCaPem ??
      (validation?.trustedCa === undefined
        ? undefined
        : inlineText(validation.trustedCa, "trusted_ca")),
    crlPem: validation?.crl === undefined ? undefined : inlineText(validation.crl, "crl"),
    canVerify:
      validationSds !== undefined || validation?.trustedCa !== undefined || spiffe !== undefined,
    spiffe,
    acceptsUntrusted: validation?.trustChainVerification === TrustChain.ACCEPT_UNTRUSTED,
    peerNames: compilePeerNames(
      validation ?? CertificateValidationContext.create(),
      spiffe !== undefined,
    ),
    pins: compilePins(validation ?? CertificateValidationContext.create()),
    alpn: common.alpnProtocols,
    ...planParameters(common.tlsParams),
    secretNames,
  };
}

/** Undefined with the name of the secret that is missing; throws when OpenSSL refuses the material. */
export function buildMaterial(
  plan: TlsPlan,
  secrets: SecretSource,
): TlsMaterial | { readonly missing: string } {
  let { certificate, trustedCaPem, crlPem } = plan;
  if (plan.certificateSecret !== undefined) {
    const secret = secrets.get(plan.certificateSecret);
    if (secret?.kind !== "certificate") return { missing: plan.certificateSecret };
    certificate = secret;
  }
  if (plan.validationSecret !== undefined) {
    const secret = secrets.get(plan.validationSecret);
    if (secret?.kind !== "validation") return { missing: plan.validationSecret };
    // As Envoy: bundles take the place of what a secret trusts.
    if (plan.spiffe === undefined) trustedCaPem = secret.trustedCaPem;
    // As Envoy: what a secret says takes the place of what the context says.
    crlPem = secret.crlPem ?? crlPem;
  }
  return materialOf({ ...plan, crlPem }, certificate, trustedCaPem);
}

type Certificate = NonNullable<TlsPlan["certificate"]>;

/** What was made of the same parts, as long as somebody holds it: a dozen clusters share one secret. */
const made = new Map<string, WeakRef<TlsMaterial>>();

function materialOf(
  plan: TlsPlan,
  certificate: Certificate | undefined,
  trustedCaPem: string | undefined,
): TlsMaterial {
  const { versions, ciphers, yieldsToChaCha, curves, crlPem = null } = plan;
  const { chainPem, privateKeyPem } = certificate ?? {};
  const parts = [versions, ciphers, yieldsToChaCha, curves ?? null, chainPem ?? null];
  const more = [privateKeyPem ?? null, trustedCaPem ?? null, crlPem];
  const key = hash("sha256", JSON.stringify([...parts, ...more]));
  const known = made.get(key)?.deref();
  if (known !== undefined) return known;
  const material = makeMaterial(plan, certificate, trustedCaPem);
  for (const [other, reference] of made) if (reference.deref() === undefined) made.delete(other);
  made.set(key, new WeakRef(material));
  return material;
}

/** Without the word, Node would read the 140 authorities of the public web, for nobody. */
const noAuthorities: string[] = [];

function makeMaterial(
  plan: TlsPlan,
  certificate: Certificate | undefined,
  trustedCaPem: string | undefined,
): TlsMaterial {
  const { versions, ciphers, yieldsToChaCha, curves, crlPem } = plan;
  const parts: TlsParts = {
    ...versions,
    ciphers,
    yieldsToChaCha,
    curves,
    chainPem: certificate?.chainPem,
    privateKeyPem: certificate?.privateKeyPem,
    trustedCaPem,
    crlPem,
  };
  // Without tickets there is nothing to go on with: every connection is verified anew.
  const context = createNodeContext(parts, { secureOptions: constants.SSL_OP_NO_TICKET });
  const leaf = certificate === undefined ? undefined : new X509Certificate(certificate.chainPem);
  const names = leaf === undefined ? undefined : decodeCertificateNames(leaf.raw);
  return {
    context,
    parts,
    localUriSans: names?.uriSans ?? [],
    localNames:
      names === undefined
        ? []
        : [names.subject, ...names.uriSans, ...names.dnsSans, ...names.emailSans, ...names.ipSans],
    verifiesPeer: trustedCaPem !== undefined,
  };
}

/** Throws when OpenSSL refuses the parts. */
export function createNodeContext(
  parts: TlsParts,
  more: tls.SecureContextOptions,
): tls.SecureContext {
  const { minVersion, maxVersion, ciphers, curves, chainPem, privateKeyPem, trustedCaPem } = parts;
  const { crlPem, yieldsToChaCha } = parts;
  const { secureOptions = 0, ...rest } = more;
  return tls.createSecureContext({
    minVersion,
    maxVersion,
    ciphers,
    // Of a server, as Envoy: of what both ends know, its own first is used.
    honorCipherOrder: true,
    secureOptions: secureOptions | (yieldsToChaCha ? constants.SSL_OP_PRIORITIZE_CHACHA : 0),
    ...(curves === undefined ? {} : { ecdhCurve: curves }),
    ...(chainPem === undefined ? {} : { cert: chainPem }),
    ...(privateKeyPem === undefined ? {} : { key: privateKeyPem }),
    ca: trustedCaPem ?? noAuthorities,
    ...(crlPem === undefined ? {} : { crl: revocationLists(crlPem) }),
    ...rest,
  });
}

/** Of several in one text Node reads the first alone. */
function revocationLists(pem: string): string[] {
  const lists = pem.match(/-----BEGIN X509 CRL-----[^]*?-----END X509 CRL-----/g);
  if (lists === null) throw new HeddleError("tls-unsupported", "crl holds no revocation list");
  return lists;
}

function refuseUnsupported(common: CommonTlsContext): void {
  const refused: Readonly<Record<string, boolean>> = {
    "more than one certificate":
      common.tlsCertificateSdsSecretConfigs.length + common.tlsCertificates.length > 1,
    certificate_provider:
      common.tlsCertificateProviderInstance !== undefined ||
      common.tlsCertificateCertificateProvider !== undefined ||
      common.tlsCertificateCertificateProviderInstance !== undefined ||
      common.validationContextCertificateProvider !== undefined ||
      common.validationContextCertificateProviderInstance !== undefined,
    "parts of a certificate beside its chain and key": common.tlsCertificates.some(hasMore),
    custom_tls_certificate_selector: common.customTlsCertificateSelector !== undefined,
    custom_handshaker: common.customHandshaker !== undefined,
    key_log: common.keyLog !== undefined,
    validation_context_certificate_provider:
      common.combinedValidationContext?.validationContextCertificateProvider !== undefined ||
      common.combinedValidationContext?.validationContextCertificateProviderInstance !== undefined,
    signature_algorithms: (common.tlsParams?.signatureAlgorithms.length ?? 0) > 0,
    compliance_policies: (common.tlsParams?.compliancePolicies.length ?? 0) > 0,
  };
  refuseAny(refused);
}

function hasMore(certificate: TlsCertificate): boolean {
  const { pkcs12, privateKeyProvider, password, ocspStaple, tlsParams } = certificate;
  const others = [pkcs12, privateKeyProvider, password, ocspStaple, tlsParams];
  const timestamps = certificate.signedCertificateTimestamp.length;
  return timestamps > 0 || others.some((one) => one !== undefined);
}

function refuseUnsupportedValidation(
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
    watched_directory: validation.watchedDirectory !== undefined,
  });
}

function refuseAny(refused: Readonly<Record<string, boolean>>): void {
  for (const [what, isPresent] of Object.entries(refused)) {
    if (isPresent) throw new HeddleError("tls-unsupported", `${what} is not supported`);
  }
}

function inlineText(source: DataSource | undefined, field: string): string {
  if (source?.inlineString !== undefined) return source.inlineString;
  if (source?.inlineBytes !== undefined) return Buffer.from(source.inlineBytes).toString("utf8");
  throw new HeddleError("tls-unsupported", `${field} must be inline or come from SDS`);
}

function planParameters(
  parameters: TlsParameters | undefined,
): Pick<TlsPlan, "versions" | "ciphers" | "yieldsToChaCha" | "curves"> {
  const suites = parameters?.cipherSuites ?? [];
  // Envoy writes groups of equal preference as [A|B], and the client's order counts within one. OpenSSL
  // knows order only, but for ChaCha20, which clients put first that have no instructions for AES.
  const chosen = suites.flatMap((suite) => suite.replaceAll(/[[\]]/g, "").split("|"));
  const isGrouped = (suite: string): boolean => suite.includes("|") && suite.includes("CHACHA20");
  const curves = parameters?.ecdhCurves ?? [];
  const known = chosen.filter((suite) => tls.getCiphers().includes(suite.toLowerCase()));
  // Falling back on ours would offer what was not asked for.
  if (chosen.length > 0 && known.length === 0) {
    throw new HeddleError("tls-unsupported", `no cipher suite of ${chosen.join(", ")} is known`);
  }
  if (curves.length > 0) checkCurves(curves);
  return {
    versions: {
      minVersion: versionOf(parameters?.tlsMinimumProtocolVersion, "TLSv1.2"),
      maxVersion: versionOf(parameters?.tlsMaximumProtocolVersion, "TLSv1.3"),
    },
    ciphers: [ciphers13, ...(known.length === 0 ? ciphers12 : known)].join(":"),
    yieldsToChaCha: suites.length === 0 || suites.some(isGrouped),
    curves: curves.length === 0 ? undefined : curves.join(":"),
  };
}

/** Before the secrets come: a name that OpenSSL does not know would fail every handshake. */
function checkCurves(curves: readonly string[]): void {
  try {
    tls.createSecureContext({ ecdhCurve: curves.join(":"), ca: noAuthorities });
  } catch (cause) {
    const message = `an ECDH curve of ${curves.join(", ")} is not known`;
    throw new HeddleError("tls-unsupported", message, { cause });
  }
}

function versionOf(version: Protocol | undefined, automatic: tls.SecureVersion): tls.SecureVersion {
  if (version === undefined || version === Protocol.TLS_AUTO) return automatic;
  if (version === Protocol.TLSv1_2) return "TLSv1.2";
  if (version === Protocol.TLSv1_3) return "TLSv1.3";
  throw new HeddleError("tls-unsupported", "TLS 1.0 and 1.1 are not supported");
}
