/**
 * Which of several certificates a server presents: those of the name that the client asks for, and of them
 * one whose key the client can do with, an elliptic curve's before RSA's. As Envoy's own choice. What is
 * chosen by name is a set with one certificate for each kind of key: between those OpenSSL decides, by what
 * the client says of signatures.
 */
import { X509Certificate } from "node:crypto";

import { decodeCertificateNames } from "../../wire/certificate-names.ts";

/** The leaf first, then who vouches for it; PKCS#8, PKCS#1 or SEC1. */
export interface OwnCertificate {
  readonly chainPem: string;
  readonly privateKeyPem: string;
}

export type CertificateSet = readonly OwnCertificate[];

export interface CertificateChoice {
  /** For a client that names nobody. */
  readonly unnamed: CertificateSet;
  /** The same object for all names that have the same; `name` is in lower case. */
  named(name: string): CertificateSet;
  /** All that can be chosen. */
  readonly sets: readonly CertificateSet[];
}

interface Described {
  readonly certificate: OwnCertificate;
  /** Of its key: `rsa`, `ec`. */
  readonly kind: string;
  /** In lower case; of `*.example.com` what is behind the star. */
  readonly patterns: readonly string[];
}

type ByKind = ReadonlyMap<string, OwnCertificate>;

/**
 * `scansAll`: a client that asks for a name that is nobody's gets what one without a name gets, and not the
 * first certificate. Throws for what is no certificate.
 */
export function compileChoice(
  certificates: readonly OwnCertificate[],
  scansAll: boolean,
): CertificateChoice {
  const described = certificates.map(describe);
  const [first] = described;
  if (first === undefined) return { unnamed: [], named: () => [], sets: [] };
  const all = byKindOf(described);
  const byName = new Map<string, Map<string, OwnCertificate>>();
  for (const { certificate, kind, patterns } of described) {
    for (const pattern of patterns) {
      const known = byName.get(pattern) ?? new Map<string, OwnCertificate>();
      if (!known.has(kind)) known.set(kind, certificate);
      byName.set(pattern, known);
    }
  }
  const unnamed = [...all.values()];
  const unknown = scansAll ? unnamed : [first.certificate];
  const lastRsa = scansAll ? all.get("rsa") : byKindOf([first]).get("rsa");
  /** Who cannot do with a curve is served by another certificate that has the name, or by the first. */
  const complete = (found: ByKind, wider: ByKind | undefined): CertificateSet => {
    const own = [...found.values()];
    if (found.has("rsa") || !found.has("ec")) return own;
    const rsa = wider?.get("rsa") ?? lastRsa;
    return rsa === undefined ? own : [...own, rsa];
  };
  const sets = new Map<string, CertificateSet>();
  for (const [pattern, found] of byName) {
    const isWildcard = pattern.startsWith(".");
    sets.set(pattern, complete(found, isWildcard ? undefined : byName.get(parentOf(pattern))));
  }
  return {
    unnamed,
    named: (name) => sets.get(name) ?? sets.get(parentOf(name)) ?? unknown,
    sets: [unnamed, unknown, ...sets.values()],
  };
}

/** `.example.com` of `www.example.com`; empty, which is nobody's name, where there is nothing above it. */
function parentOf(name: string): string {
  const dot = name.indexOf(".", 1);
  return dot < 0 || dot === name.length - 1 ? "" : name.slice(dot);
}

function byKindOf(described: readonly Described[]): ByKind {
  const found = new Map<string, OwnCertificate>();
  for (const { certificate, kind } of described) if (!found.has(kind)) found.set(kind, certificate);
  return found;
}

function describe(certificate: OwnCertificate): Described {
  const leaf = new X509Certificate(certificate.chainPem);
  const names = decodeCertificateNames(leaf.raw);
  const { dnsSans = [], uriSans = [], emailSans = [], ipSans = [] } = names ?? {};
  // RFC 6125 section 6.4.4: the common name counts where there is no other.
  const hasSans = dnsSans.length + uriSans.length + emailSans.length + ipSans.length > 0;
  const commonName = names?.commonName ?? "";
  const own = hasSans ? dnsSans : commonName === "" ? [] : [commonName];
  return {
    certificate,
    kind: leaf.publicKey.asymmetricKeyType ?? "",
    patterns: own.map((name) => name.toLowerCase().replace(/^\*\./, ".")),
  };
}
