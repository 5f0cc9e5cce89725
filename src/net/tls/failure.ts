/** Why a TLS handshake failed, in one vocabulary for both sides. */
import type { X509Certificate } from "node:crypto";

import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import { decodeCertificateNames } from "../../wire/certificate-names.ts";
import type { ChannelError } from "../channel.ts";

export type TlsFailureKind =
  | "expired"
  | "unknown-root"
  | "wrong-identity"
  | "no-certificate"
  | "bad-certificate"
  | "plaintext"
  | "protocol"
  | "timeout"
  | "closed"
  | "no-secret";

const sentences: { readonly [Kind in TlsFailureKind]: string } = {
  expired: "its certificate is not valid at this time",
  "unknown-root": "its certificate does not chain to a trusted root",
  "wrong-identity": "its certificate has another identity than the one expected",
  "no-certificate": "it presented no certificate",
  "bad-certificate": "its certificate cannot be used for this",
  plaintext: "it speaks plaintext",
  protocol: "it broke the TLS protocol or shares no version, cipher or protocol with us",
  timeout: "it took too long",
  closed: "it closed the connection; it may refuse our certificate",
  "no-secret": "our own certificate or trust anchors have not arrived yet",
};

const verifyCodes: Readonly<Record<string, TlsFailureKind>> = {
  CERT_HAS_EXPIRED: "expired",
  CERT_NOT_YET_VALID: "expired",
  UNABLE_TO_GET_ISSUER_CERT: "unknown-root",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "unknown-root",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "unknown-root",
  SELF_SIGNED_CERT_IN_CHAIN: "unknown-root",
  DEPTH_ZERO_SELF_SIGNED_CERT: "unknown-root",
  CERT_SIGNATURE_FAILURE: "unknown-root",
  CERT_UNTRUSTED: "unknown-root",
};

/** Of OpenSSL's verification code (`CERT_HAS_EXPIRED`). */
export function kindOfVerifyCode(code: string): TlsFailureKind {
  return verifyCodes[code] ?? "bad-certificate";
}

/** Of an error that a TLS socket reported while shaking hands. */
export function kindOfHandshakeError(error: Error): TlsFailureKind {
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  if (code === "ECONNRESET" || code === "EPIPE") return "closed";
  if (/HTTP_REQUEST|HTTPS_PROXY_REQUEST|WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/.test(code)) {
    return "plaintext";
  }
  if (/PEER_DID_NOT_RETURN_A_CERTIFICATE|CERTIFICATE_REQUIRED/.test(code)) return "no-certificate";
  if (/ALERT_CERTIFICATE_EXPIRED/.test(code)) return "expired";
  if (/ALERT_UNKNOWN_CA/.test(code)) return "unknown-root";
  if (/ALERT_(BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|ACCESS_DENIED)/.test(code)) {
    return "bad-certificate";
  }
  return "protocol";
}

export interface FailedHandshake {
  readonly kind: TlsFailureKind;
  readonly peer: SocketAddress;
  readonly sni: string | undefined;
  readonly certificate: X509Certificate | undefined;
  /** OpenSSL's code or another detail for experts. */
  readonly detail: string;
}

/** `TLS with 10.0.0.1:443 failed: … (sni …, presented spiffe://…, valid until …; CERT_…)`. */
export function describeFailure(failed: FailedHandshake): ChannelError {
  const { kind, peer, sni, certificate, detail } = failed;
  const facts = sni === undefined ? [] : [`sni ${sni}`];
  if (certificate !== undefined) {
    const names = decodeCertificateNames(certificate.raw);
    facts.push(`presented ${names?.uriSans.join(" ") || names?.dnsSans.join(" ") || "no name"}`);
    facts.push(`valid until ${certificate.validTo}`);
  }
  if (detail !== "") facts.push(detail);
  const more = facts.length === 0 ? "" : ` (${facts.join(", ")})`;
  return {
    code: `tls-${kind}`,
    message: `TLS with ${formatSocketAddress(peer)} failed: ${sentences[kind]}${more}`,
  };
}
