/**
 * From an xDS CommonTlsContext and the secrets it names to an OpenSSL context. Runs when
 * configuration or a secret changes, never for a connection. What it does not know it refuses: a
 * check left out in silence would let strangers in.
 */
import { constants, hash, X509Certificate } from "node:crypto";
import tls from "node:tls";

import { HeddleError } from "../../base/error.ts";
import { type CertificateNames, decodeCertificateNames } from "../../wire/certificate-names.ts";
import type { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import {
  CertificateValidationContext,
  CertificateValidationContext_TrustChainVerification as TrustChain,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import type { CommonTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { revocationsSecret, type SecretSource } from "../secret-source.ts";
import { type CertificateSet, compileChoice, type OwnCertificate } from "./own-certificates.ts";
import { type ParameterPlan, planParameters } from "./parameters.ts";
import { compilePins, type PeerPins } from "./peer-pins.ts";
import { compilePeerNames, type PeerNameCheck } from "./peer-names.ts";
import { compileSpiffeBundles, type SpiffeBundles } from "./spiffe-bundles.ts";
import { refuseUnsupported, refuseUnsupportedValidation } from "./unsupported.ts";

/** One of the certificates that a context has of its own, where it stands. */
type CertificateSource =
  | { readonly kind: "inline"; readonly certificate: OwnCertificate }
  | { readonly kind: "secret"; readonly name: string };

/** What is fixed by configuration; secrets are looked up by these names. */
export interface TlsPlan extends ParameterPlan {
  /** In the order of their configuration, which decides between those that are as good. */
  readonly certificates: readonly CertificateSource[];
  /** A client that asks for a name that no certificate has gets what one gets that asks for none. */
  readonly scansAll: boolean;
  /** Servers choose ciphers by their own order of preference; otherwise by the client's. */
  readonly prefersOwnCiphers: boolean;
  readonly validationSecret: string | undefined;
  readonly trustedCaPem: string | undefined;
  /** What issuers have taken back; undefined: it is not looked at. */
  readonly crlPem: string | undefined;
  /** Where that lies in a file. */
  readonly crlSecret: string | undefined;
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
  /** Secret names that, when they change, make the context out of date. */
  readonly secretNames: ReadonlySet<string>;
}

export interface TlsParts {
  readonly minVersion: tls.SecureVersion;
  readonly maxVersion: tls.SecureVersion;
  /** Names of TLS 1.3 and 1.2, in one list. */
  readonly ciphers: string;
  readonly prefersOwnCiphers: boolean;
  /** A client whose first is ChaCha20 has it, whatever stands first here. */
  readonly yieldsToChaCha: boolean;
  readonly curves: string | undefined;
  readonly signatures: string | undefined;
  /** One for each kind of key, the one that is preferred first. */
  readonly certificates: CertificateSet;
  readonly trustedCaPem: string | undefined;
  readonly crlPem: string | undefined;
}

export interface TlsMaterial {
  readonly context: tls.SecureContext;
  /** What the context was made of, for a backend that makes its own. */
  readonly parts: TlsParts;
  /** Of the certificate with these bytes, or of the first; undefined without one. */
  readonly ownNames: (der: Uint8Array | undefined) => CertificateNames | undefined;
  /** Everything that our own certificates say who we are by. */
  readonly localNames: readonly string[];
  /** Whether the peer's chain is verified: false only where configuration names no trust anchor. */
  readonly verifiesPeer: boolean;
}

/** Of several certificates that are chosen by name, each choice has a context of its own. */
export interface TlsMaterials {
  readonly isByName: boolean;
  /** For a client that asks for this name, in lower case; undefined: for none, and for our own side as a client. */
  readonly of: (name: string | undefined) => TlsMaterial;
}

/** What the two sides say differently. */
export interface TlsSidePlan {
  readonly isClient: boolean;
  readonly scansAll?: boolean;
  readonly prefersOwnCiphers?: boolean;
}

/** Throws `tls-unsupported` for what it cannot honour. */
export function planTls(
  common: CommonTlsContext,
  { isClient, scansAll = false, prefersOwnCiphers = true }: TlsSidePlan,
): TlsPlan {
  refuseUnsupported(common, isClient);
  const combined = common.combinedValidationContext;
  const validation = combined?.defaultValidationContext ?? common.validationContext;
  const validationSds =
    combined?.validationContextSdsSecretConfig ?? common.validationContextSdsSecretConfig;
  if (validation !== undefined)
    refuseUnsupportedValidation(validation, validationSds !== undefined);
  const custom = validation?.customValidatorConfig;
  const spiffe = custom === undefined ? undefined : compileSpiffeBundles(custom);
  const certificates = certificatesOf(common);
  const crl = revocationsOf(validation);
  const secretNames = new Set<string>();
  for (const one of certificates) if (one.kind === "secret") secretNames.add(one.name);
  for (const name of [validationSds?.name, crl.crlSecret]) {
    if (name !== undefined) secretNames.add(name);
  }
  return {
    certificates,
    scansAll,
    prefersOwnCiphers,
    validationSecret: validationSds?.name,
    trustedCaPem:
      spiffe?.trustedCaPem ??
      (validation?.trustedCa === undefined
        ? undefined
        : inlineText(validation.trustedCa, "trusted_ca")),
    ...crl,
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

function certificatesOf(common: CommonTlsContext): readonly CertificateSource[] {
  return [
    ...common.tlsCertificates.map((inline, i) => ({
      kind: "inline" as const,
      certificate: {
        chainPem: inlineText(inline.certificateChain, `tls_certificates[${i}].certificate_chain`),
        privateKeyPem: inlineText(inline.privateKey, `tls_certificates[${i}].private_key`),
      },
    })),
    ...common.tlsCertificateSdsSecretConfigs.map(({ name }) => ({
      kind: "secret" as const,
      name,
    })),
  ];
}

function revocationsOf(
  validation: CertificateValidationContext | undefined,
): Pick<TlsPlan, "crlPem" | "crlSecret"> {
  const crl = validation?.crl;
  if (crl === undefined) return { crlPem: undefined, crlSecret: undefined };
  const crlSecret = revocationsSecret(crl.filename);
  if (crlSecret !== undefined) return { crlPem: undefined, crlSecret };
  const crlPem = inlineText(crl, "crl");
  // Refused now, not when the first peer comes.
  revocationLists(crlPem);
  return { crlPem, crlSecret: undefined };
}

/** Undefined with the name of the secret that is missing; throws when OpenSSL refuses the material. */
export function buildMaterials(
  plan: TlsPlan,
  secrets: SecretSource,
): TlsMaterials | { readonly missing: string } {
  let { trustedCaPem, crlPem } = plan;
  const certificates: OwnCertificate[] = [];
  for (const source of plan.certificates) {
    if (source.kind === "inline") {
      certificates.push(source.certificate);
      continue;
    }
    const secret = secrets.get(source.name);
    if (secret?.kind !== "certificate") return { missing: source.name };
    certificates.push(secret);
  }
  if (plan.crlSecret !== undefined) {
    const secret = secrets.get(plan.crlSecret);
    // Without the list everybody that is on it would be let in.
    if (secret?.kind !== "revocations") return { missing: plan.crlSecret };
    crlPem = secret.crlPem;
  }
  if (plan.validationSecret !== undefined) {
    const secret = secrets.get(plan.validationSecret);
    if (secret?.kind !== "validation") return { missing: plan.validationSecret };
    // As Envoy: bundles take the place of what a secret trusts.
    if (plan.spiffe === undefined) trustedCaPem = secret.trustedCaPem;
    // As Envoy: what a secret says takes the place of what the context says.
    crlPem = secret.crlPem ?? crlPem;
  }
  const { certificates: _, ...judged } = { ...plan, crlPem };
  return materialsOf(certificates, (set) => materialOf(judged, set, trustedCaPem), plan.scansAll);
}

function materialsOf(
  certificates: readonly OwnCertificate[],
  make: (set: CertificateSet) => TlsMaterial,
  scansAll: boolean,
): TlsMaterials {
  const [only] = certificates;
  if (certificates.length < 2) {
    const material = make(only === undefined ? [] : [only]);
    return { isByName: false, of: () => material };
  }
  const choice = compileChoice(certificates, scansAll);
  const bySet = new Map(choice.sets.map((set) => [set, make(set)]));
  const unnamed = make(choice.unnamed);
  return {
    isByName: new Set(bySet.values()).size > 1,
    of: (name) => (name === undefined ? unnamed : (bySet.get(choice.named(name)) ?? unnamed)),
  };
}

/** What was made of the same parts, as long as somebody holds it: a dozen clusters share one secret. */
const made = new Map<string, WeakRef<TlsMaterial>>();

type Judged = Omit<TlsPlan, "certificates">;

function materialOf(
  plan: Judged,
  certificates: CertificateSet,
  trustedCaPem: string | undefined,
): TlsMaterial {
  const { versions, ciphers, prefersOwnCiphers, yieldsToChaCha } = plan;
  const { curves, signatures, crlPem } = plan;
  const parts: TlsParts = {
    ...versions,
    ciphers,
    prefersOwnCiphers,
    yieldsToChaCha,
    curves,
    signatures,
    certificates,
    trustedCaPem,
    crlPem,
  };
  // What is not there must not be passed over, lest what follows takes its place.
  const key = hash(
    "sha256",
    JSON.stringify(parts, (_, value: unknown) => value ?? null),
  );
  const known = made.get(key)?.deref();
  if (known !== undefined) return known;
  const material = makeMaterial(parts);
  for (const [other, reference] of made) if (reference.deref() === undefined) made.delete(other);
  made.set(key, new WeakRef(material));
  return material;
}

/** Without the word, Node would read the 140 authorities of the public web, for nobody. */
const noAuthorities: string[] = [];

function makeMaterial(parts: TlsParts): TlsMaterial {
  // Without tickets there is nothing to go on with: every connection is verified anew.
  const context = createNodeContext(parts, { secureOptions: constants.SSL_OP_NO_TICKET });
  const leaves = parts.certificates.map(({ chainPem }) => new X509Certificate(chainPem).raw);
  const own = leaves.map((der) => ({ der, names: decodeCertificateNames(der) }));
  const names = own.flatMap((one) => one.names ?? []);
  return {
    context,
    parts,
    ownNames: (der) => {
      const shown = der === undefined ? undefined : own.find((one) => one.der.equals(der));
      return (shown ?? own[0])?.names;
    },
    localNames: names.flatMap(({ subject, uriSans, dnsSans, emailSans, ipSans }) => [
      subject,
      ...uriSans,
      ...dnsSans,
      ...emailSans,
      ...ipSans,
    ]),
    verifiesPeer: parts.trustedCaPem !== undefined,
  };
}

/** Throws when OpenSSL refuses the parts. */
export function createNodeContext(
  parts: TlsParts,
  { secureOptions = 0, ...more }: tls.SecureContextOptions & { readonly secureOptions?: number },
): tls.SecureContext {
  const { minVersion, maxVersion, ciphers, curves, signatures, certificates } = parts;
  const { trustedCaPem, crlPem } = parts;
  return tls.createSecureContext({
    minVersion,
    maxVersion,
    ciphers,
    ...(curves === undefined ? {} : { ecdhCurve: curves }),
    ...(signatures === undefined ? {} : { sigalgs: signatures }),
    ...(certificates.length === 0
      ? {}
      : {
          cert: certificates.map(({ chainPem }) => chainPem),
          key: certificates.map(({ privateKeyPem }) => privateKeyPem),
        }),
    ca: trustedCaPem ?? noAuthorities,
    ...(crlPem === undefined ? {} : { crl: revocationLists(crlPem) }),
    secureOptions: secureOptions | orderOf(parts),
    ...more,
  });
}

/** Of a server, as Envoy: of what both ends know, its own first is used, unless it is told otherwise. */
function orderOf({ prefersOwnCiphers, yieldsToChaCha }: TlsParts): number {
  if (!prefersOwnCiphers) return 0;
  const { SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_PRIORITIZE_CHACHA } = constants;
  return SSL_OP_CIPHER_SERVER_PREFERENCE | (yieldsToChaCha ? SSL_OP_PRIORITIZE_CHACHA : 0);
}

/** Of several in one text Node reads the first alone. */
function revocationLists(pem: string): string[] {
  const lists = pem.match(/-----BEGIN X509 CRL-----[^]*?-----END X509 CRL-----/g);
  if (lists === null) throw new HeddleError("tls-unsupported", "crl holds no revocation list");
  return lists;
}

function inlineText(source: DataSource | undefined, field: string): string {
  if (source?.inlineString !== undefined) return source.inlineString;
  if (source?.inlineBytes !== undefined) return Buffer.from(source.inlineBytes).toString("utf8");
  throw new HeddleError("tls-unsupported", `${field} must be inline or come from SDS`);
}
