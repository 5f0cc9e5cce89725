/**
 * Peers that prove who they are to the authorities of their own trust domain, and to no other's:
 * Envoy's SPIFFECertValidatorConfig. OpenSSL verifies against all authorities together; here the peer
 * is held to those of the domain that it names.
 */
import { X509Certificate } from "node:crypto";

import { HeddleError } from "../../base/error.ts";
import { decodeAuthorityLimits, decodeKeyUsage, keyUsage } from "../../wire/certificate-limits.ts";
import type { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { TypedExtensionConfig } from "../../wire/gen/ts/envoy/config/core/v3/extension.ts";
import { SPIFFECertValidatorConfig } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.ts";
import { mayBeVouchedFor } from "./name-constraints.ts";
import { type PeerCertificate, readPeerCertificate } from "./peer-certificate.ts";

export interface SpiffeBundles {
  /** The authorities of all domains. */
  readonly trustedCaPem: string;
  /** Which of them vouches has to be found out: what came behind the peer's certificate is needed. */
  readonly needsChain: boolean;
  /** Why a peer whose chain has verified is refused all the same; undefined: it is not. */
  refusal(peer: PeerCertificate, issuersDer: readonly Uint8Array[]): string | undefined;
}

const typeUrl =
  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

/** Throws `tls-unsupported`. */
export function compileSpiffeBundles({ name, typedConfig }: TypedExtensionConfig): SpiffeBundles {
  if (typedConfig?.typeUrl !== typeUrl) {
    throw invalid(`'${typedConfig?.typeUrl ?? name}' is not supported`);
  }
  const { trustDomains, trustBundles } = SPIFFECertValidatorConfig.decode(typedConfig.value);
  const bundles = new Map<string, readonly X509Certificate[]>();
  if (trustBundles !== undefined) {
    readBundleMap(textOf(trustBundles, "trust_bundles"), bundles);
  } else {
    for (const { name: domain, trustBundle, workloadTrustDomain } of trustDomains) {
      if (domain === "") throw invalid("trust_domains.name is required");
      if (workloadTrustDomain !== "") throw invalid("workload_trust_domain is not supported");
      if (bundles.has(domain)) throw invalid(`'${domain}' has more than one trust_bundle`);
      bundles.set(domain, readPem(textOf(trustBundle, "trust_bundle"), domain));
    }
  }
  if (bundles.size === 0) throw invalid("names no trust domain");
  return bundlesOf(bundles);
}

function bundlesOf(bundles: ReadonlyMap<string, readonly X509Certificate[]>): SpiffeBundles {
  const needsChain = bundles.size > 1;
  return {
    trustedCaPem: [...bundles.values()].flatMap((all) => all.map((one) => one.toString())).join(""),
    needsChain,
    refusal({ der, names }, issuersDer) {
      const domain = trustDomainOf(names?.uriSans[0] ?? "");
      const authorities = domain === "" ? undefined : bundles.get(domain);
      if (authorities === undefined) return `no bundle for trust domain '${domain}'`;
      const leaf = new X509Certificate(der);
      if (mayIssue(leaf)) return "it is an authority's certificate";
      if (!needsChain) return undefined;
      const issuers = issuersDer.map((each) => new X509Certificate(each));
      const isVouched = isIssuedBy(leaf, authorities, issuers);
      return isVouched ? undefined : `not issued in trust domain '${domain}'`;
    },
  };
}

/** As Envoy: an id without a path is none. */
function trustDomainOf(uri: string): string {
  return /^spiffe:\/\/([^/]*)\//.exec(uri)?.[1] ?? "";
}

/** What no SVID of a workload may be (SPIFFE X.509-SVID §5.2); as Envoy, also where it says nothing of it. */
function mayIssue(leaf: X509Certificate): boolean {
  const usage = decodeKeyUsage(leaf.raw) ?? 0xffff;
  return leaf.ca || (usage & (keyUsage.certificateSign | keyUsage.crlSign)) !== 0;
}

/** Longer chains are nobody's. */
const issuersMax = 10;
/** Signatures that are looked at for one peer, which could send authorities that all vouch for each other. */
const signaturesMax = 100;

/** By one of the authorities, or by one that is vouched for so, each within its limits. */
function isIssuedBy(
  leaf: X509Certificate,
  authorities: readonly X509Certificate[],
  issuers: readonly X509Certificate[],
): boolean {
  const now = Date.now();
  const between = issuers.slice(0, issuersMax).filter((one) => one.ca && isValidAt(one, now));
  const trusted = authorities.filter((one) => isValidAt(one, now));
  let signatures = 0;
  /** `path`: from the leaf up, each vouched for by the one after it. */
  const isVouched = (path: readonly X509Certificate[]): boolean => {
    const top = path.at(-1) ?? leaf;
    const isBy = (issuer: X509Certificate): boolean =>
      top.checkIssued(issuer) && ++signatures <= signaturesMax && top.verify(issuer.publicKey);
    for (const authority of trusted) {
      const isItself = top.raw.equals(authority.raw);
      if (!isItself && !isBy(authority)) continue;
      if (isWithinLimits(isItself ? path.slice(0, -1) : path, authority)) return true;
    }
    return between.some(
      (issuer) =>
        !path.includes(issuer) &&
        isBy(issuer) &&
        isWithinLimits(path, issuer) &&
        isVouched([...path, issuer]),
    );
  };
  return isVouched([leaf]);
}

/** `path`: what stands below the issuer, the leaf first. */
function isWithinLimits(path: readonly X509Certificate[], issuer: X509Certificate): boolean {
  const limits = decodeAuthorityLimits(issuer.raw);
  if (limits === undefined) return false;
  const between = path.slice(1).filter((one) => one.subject !== one.issuer);
  if (between.length > limits.pathLength) return false;
  if (limits.permitted.length + limits.excluded.length === 0) return true;
  return path.every(({ raw }) => {
    const { names } = readPeerCertificate(raw);
    return names !== undefined && mayBeVouchedFor(names, limits);
  });
}

function isValidAt({ validFromDate, validToDate }: X509Certificate, nowMs: number): boolean {
  return validFromDate.getTime() <= nowMs && nowMs <= validToDate.getTime();
}

/** A SPIFFE bundle for each domain (SPIFFE Trust Domain and Bundle §4), whose keys are of X.509. */
function readBundleMap(json: string, bundles: Map<string, readonly X509Certificate[]>): void {
  for (const [domain, bundle] of Object.entries(
    objectOf(objectOf(parseJson(json))["trust_domains"]),
  )) {
    const { keys } = objectOf(bundle);
    if (!Array.isArray(keys)) throw invalid(`trust_bundles: '${domain}' has no keys`);
    const certificates = keys.flatMap((key: unknown) => {
      const { use, x5c } = objectOf(key);
      // As Envoy: other keys are no part of a bundle here.
      if (use !== "x509-svid") throw invalid(`trust_bundles: '${domain}' has a key of other use`);
      if (!Array.isArray(x5c)) throw invalid(`trust_bundles: '${domain}' has a key without x5c`);
      return x5c.map((each: unknown) => certificateOf(Buffer.from(String(each), "base64"), domain));
    });
    if (certificates.length === 0) throw invalid(`trust_bundles: '${domain}' has no certificate`);
    bundles.set(domain, certificates);
  }
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw invalid("trust_bundles is no JSON");
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid("trust_bundles is no map of bundles");
  }
  return { ...value };
}

function readPem(pem: string, domain: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/g);
  if (blocks === null) throw invalid(`the bundle of '${domain}' holds no certificate`);
  return blocks.map((block) => certificateOf(block, domain));
}

function certificateOf(source: string | Buffer, domain: string): X509Certificate {
  try {
    return new X509Certificate(source);
  } catch {
    throw invalid(`the bundle of '${domain}' holds what is no certificate`);
  }
}

function textOf(source: DataSource | undefined, field: string): string {
  if (source?.inlineString !== undefined) return source.inlineString;
  if (source?.inlineBytes !== undefined) return Buffer.from(source.inlineBytes).toString("utf8");
  throw invalid(`${field} must be inline`);
}

function invalid(reason: string): HeddleError {
  return new HeddleError("tls-unsupported", `custom_validator_config: ${reason}`);
}
