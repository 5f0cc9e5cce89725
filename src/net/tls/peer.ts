/**
 * The verdict on a peer after the cryptography is done. Node finishes handshakes with peers that
 * failed verification and leaves the decision to us; no byte may pass before it.
 */
import { X509Certificate } from "node:crypto";

import type { CertificateNames } from "../../wire/certificate-names.ts";
import type { TlsSession } from "../channel.ts";
import { kindOfVerifyCode, type TlsFailureKind } from "./failure.ts";
import type { TlsMaterial, TlsPlan } from "./material.ts";
import type { PeerCertificate } from "./peer-certificate.ts";
import { hasDnsName, isNamedSo, isSoundSvid } from "./peer-names.ts";

export type PeerVerdict =
  | { readonly kind: "accepted"; readonly session: TlsSession }
  | {
      readonly kind: "refused";
      readonly failure: TlsFailureKind;
      readonly detail: string;
    };

/** What a handshake came to. */
export interface PeerFacts {
  readonly certificate: PeerCertificate | undefined;
  /** What came behind the certificate, where that is kept. */
  readonly issuersDer?: readonly Uint8Array[] | undefined;
  /** Which certificate we have shown, where there are several. */
  readonly ownDer?: Uint8Array | undefined;
  readonly version: string;
  readonly cipher: string;
  readonly alpn: string | undefined;
}

export interface PeerQuestion {
  readonly facts: PeerFacts;
  readonly plan: TlsPlan;
  readonly material: TlsMaterial;
  readonly requiresCertificate: boolean;
  readonly sni: string | undefined;
  /** OpenSSL's verdict on the chain: undefined when it verified. */
  readonly verifyCode: string | undefined;
  /** Of a server: names that it must have because of whom it was asked for. */
  readonly server?: ServerExpectation;
}

export interface ServerExpectation {
  readonly sni: string | undefined;
  readonly expectsSni: boolean;
  readonly expectedName: string | undefined;
}

export function judgePeer(question: PeerQuestion): PeerVerdict {
  const { facts, plan, material, requiresCertificate, verifyCode } = question;
  const { certificate } = facts;
  if (certificate === undefined) {
    if (requiresCertificate) return refuse("no-certificate", "");
    return { kind: "accepted", session: sessionOf(question, undefined) };
  }
  const isVerified = material.verifiesPeer;
  if (isVerified && verifyCode !== undefined) {
    // A wrong signature is no want of trust: Envoy refuses it, too.
    const isUntrusted = plan.acceptsUntrusted && verifyCode !== "CERT_SIGNATURE_FAILURE";
    if (!isUntrusted) return refuse(kindOfVerifyCode(verifyCode), verifyCode);
    // Nothing more is asked of it, and nobody believes its names.
    return { kind: "accepted", session: sessionOf(question, undefined, "presented") };
  }
  const stranger = plan.spiffe?.refusal(certificate, facts.issuersDer ?? []);
  if (stranger !== undefined) return refuse("unknown-root", stranger);
  const { names } = certificate;
  let isExpected = true;
  const isNamed = question.server?.expectedName !== undefined || question.server?.expectsSni;
  if (isVerified || plan.peerNames !== undefined || isNamed === true) {
    if (names === undefined) return refuse("wrong-identity", "its names cannot be read");
    if (!isSoundSvid(names))
      return refuse("wrong-identity", "more than one URI beside a SPIFFE id");
    isExpected = hasExpectedNames(names, plan, question.server);
    if (!isExpected && !plan.acceptsUntrusted) return refuse("wrong-identity", "");
  }
  const isPinned = plan.pins?.(new X509Certificate(certificate.der));
  if (isPinned === false && !plan.acceptsUntrusted) {
    return refuse("wrong-identity", "its certificate is none of those that are accepted");
  }
  // Names that nobody verified are nobody's.
  const believed = isVerified && names !== undefined ? certificate : undefined;
  const isValid = isExpected && (isPinned ?? isVerified);
  const session = sessionOf(question, believed, isValid ? "validated" : "presented");
  return { kind: "accepted", session };
}

function hasExpectedNames(
  names: CertificateNames,
  plan: TlsPlan,
  server: ServerExpectation | undefined,
): boolean {
  const { sni, expectsSni = false, expectedName } = server ?? {};
  if (expectedName !== undefined && !isNamedSo(names, expectedName)) return false;
  // Without a name to ask for there is none to expect: what the context says of names holds then.
  if (expectsSni && sni !== undefined) return hasDnsName(names, sni);
  return plan.peerNames === undefined || plan.peerNames(names);
}

function refuse(failure: TlsFailureKind, detail: string): PeerVerdict {
  return { kind: "refused", failure, detail };
}

const noNames: readonly string[] = [];

function sessionOf(
  { facts, material, sni }: PeerQuestion,
  certificate: PeerCertificate | undefined,
  peerCertificate?: TlsSession["peerCertificate"],
): TlsSession {
  const own = material.ownNames(facts.ownDer);
  return {
    version: facts.version,
    cipher: facts.cipher,
    sni,
    alpn: facts.alpn,
    peerCertificate,
    peerUriSans: certificate?.names?.uriSans ?? noNames,
    peerNames: certificate?.names,
    peerCommonName: certificate?.names?.commonName,
    peerCertificateDer: certificate?.der,
    peerIssuersDer: certificate === undefined ? undefined : facts.issuersDer,
    localUriSans: own?.uriSans ?? noNames,
    ownNames: own,
  };
}
