/** Which certificates, or public keys, a peer may have: Envoy's lists of hashes. */
import { hash, type X509Certificate } from "node:crypto";

import { HeddleError } from "../../base/error.ts";
import type { CertificateValidationContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";

/** True when the certificate stands in one of the lists. */
export type PeerPins = (certificate: X509Certificate) => boolean;

/** Undefined where there is no list. Throws `tls-unsupported` for what is no hash. */
export function compilePins(context: CertificateValidationContext): PeerPins | undefined {
  const certificates = new Set(context.verifyCertificateHash.map(readFingerprint));
  const keys = new Set(context.verifyCertificateSpki.map(readKeyHash));
  if (certificates.size === 0 && keys.size === 0) return undefined;
  return (certificate) => {
    if (certificates.has(hash("sha256", certificate.raw))) return true;
    if (keys.size === 0) return false;
    const key = certificate.publicKey.export({ type: "spki", format: "der" });
    return keys.has(hash("sha256", key));
  };
}

/** 64 hexadecimal digits, with colons between pairs or without. */
function readFingerprint(text: string): string {
  const digits = text.replaceAll(":", "").toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digits)) throw invalid("verify_certificate_hash", text);
  return digits;
}

function readKeyHash(text: string): string {
  const bytes = Buffer.from(text, "base64");
  if (bytes.length !== 32 || bytes.toString("base64") !== text) {
    throw invalid("verify_certificate_spki", text);
  }
  return bytes.toString("hex");
}

function invalid(field: string, text: string): HeddleError {
  return new HeddleError("tls-unsupported", `${field}: '${text}' is no SHA-256 hash`);
}
