/**
 * The verdict on a peer after the cryptography is done. Node finishes handshakes with peers that
 * failed verification and leaves the decision to us; no byte may pass before it.
 */
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";

import { decodeCertificateNames } from "../../wire/certificate-names.ts";
import type { TlsSession } from "../channel.ts";
import { kindOfVerifyCode, type TlsFailureKind } from "./failure.ts";
import type { TlsMaterial, TlsPlan } from "./material.ts";
import { isSoundSvid } from "./peer-names.ts";

export type PeerVerdict =
  | { readonly kind: "accepted"; readonly session: TlsSession }
  | {
      readonly kind: "refused";
      readonly failure: TlsFailureKind;
      readonly certificate: X509Certificate | undefined;
      readonly detail: string;
    };

export interface PeerQuestion {
  readonly socket: Pick<
    TLSSocket,
    "getPeerX509Certificate" | "getProtocol" | "getCipher" | "alpnProtocol"
  >;
  readonly plan: TlsPlan;
  readonly material: TlsMaterial;
  readonly requiresCertificate: boolean;
  readonly sni: string | undefined;
  /** OpenSSL's verdict on the chain: undefined when it verified. */
  readonly verifyCode: string | undefined;
}

export function judgePeer(question: PeerQuestion): PeerVerdict {
  const { socket, plan, material, requiresCertificate, verifyCode } = question;
  const certificate = socket.getPeerX509Certificate();
  const refuse = (failure: TlsFailureKind, detail: string): PeerVerdict => ({
    kind: "refused",
    failure,
    certificate,
    detail,
  });
  if (certificate === undefined) {
    if (requiresCertificate) return refuse("no-certificate", "");
    return { kind: "accepted", session: sessionOf(question, undefined, []) };
  }
  if (material.verifiesPeer && verifyCode !== undefined && !plan.acceptsUntrusted) {
    return refuse(kindOfVerifyCode(verifyCode), verifyCode);
  }
  const isVerified = material.verifiesPeer && verifyCode === undefined;
  const names = decodeCertificateNames(certificate.raw);
  if (isVerified || plan.peerNames !== undefined) {
    if (names === undefined) return refuse("wrong-identity", "its names cannot be read");
    if (!isSoundSvid(names))
      return refuse("wrong-identity", "more than one URI beside a SPIFFE id");
    if (plan.peerNames !== undefined && !plan.peerNames(names)) return refuse("wrong-identity", "");
  }
  if (plan.pins?.(certificate) === false) {
    return refuse("wrong-identity", "its certificate is none of those that are accepted");
  }
  // Names that nobody verified are nobody's.
  if (!isVerified || names === undefined) {
    return { kind: "accepted", session: sessionOf(question, undefined, []) };
  }
  return { kind: "accepted", session: sessionOf(question, certificate, names.uriSans) };
}

function sessionOf(
  { socket, material, sni }: PeerQuestion,
  certificate: X509Certificate | undefined,
  peerUriSans: readonly string[],
): TlsSession {
  const { alpnProtocol } = socket;
  const names = certificate === undefined ? undefined : decodeCertificateNames(certificate.raw);
  return {
    version: socket.getProtocol() ?? "",
    cipher: socket.getCipher().name,
    sni,
    alpn: typeof alpnProtocol === "string" && alpnProtocol !== "" ? alpnProtocol : undefined,
    peerUriSans,
    peerCommonName: names?.commonName,
    peerCertificateDer: certificate?.raw,
    localUriSans: material.localUriSans,
  };
}
