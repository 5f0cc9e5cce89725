/**
 * The verdict on a peer after the cryptography is done. Node finishes handshakes with peers that
 * failed verification and leaves the decision to us; no byte may pass before it.
 */
import { X509Certificate } from "node:crypto";

import type { TlsSession } from "../channel.ts";
import { kindOfVerifyCode, type TlsFailureKind } from "./failure.ts";
import type { TlsMaterial, TlsPlan } from "./material.ts";
import type { PeerCertificate } from "./peer-certificate.ts";
import { isSoundSvid } from "./peer-names.ts";

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
    return refuse(kindOfVerifyCode(verifyCode), verifyCode);
  }
  const { names } = certificate;
  if (isVerified || plan.peerNames !== undefined) {
    if (names === undefined) return refuse("wrong-identity", "its names cannot be read");
    if (!isSoundSvid(names))
      return refuse("wrong-identity", "more than one URI beside a SPIFFE id");
    if (plan.peerNames !== undefined && !plan.peerNames(names)) return refuse("wrong-identity", "");
  }
  if (plan.pins?.(new X509Certificate(certificate.der)) === false) {
    return refuse("wrong-identity", "its certificate is none of those that are accepted");
  }
  // Names that nobody verified are nobody's.
  const believed = isVerified && names !== undefined ? certificate : undefined;
  return { kind: "accepted", session: sessionOf(question, believed) };
}

function refuse(failure: TlsFailureKind, detail: string): PeerVerdict {
  return { kind: "refused", failure, detail };
}

const noNames: readonly string[] = [];

function sessionOf(
  { facts, material, sni }: PeerQuestion,
  certificate: PeerCertificate | undefined,
): TlsSession {
  return {
    version: facts.version,
    cipher: facts.cipher,
    sni,
    alpn: facts.alpn,
    peerUriSans: certificate?.names?.uriSans ?? noNames,
    peerCommonName: certificate?.names?.commonName,
    peerCertificateDer: certificate?.der,
    peerIssuersDer: certificate === undefined ? undefined : facts.issuersDer,
    localUriSans: material.localUriSans,
  };
}
