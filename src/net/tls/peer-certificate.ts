/**
 * Certificates of peers, read once: the same few come again and again. What is not in the memory of
 * the last ones is read, so nobody's names can be taken for another's.
 */
import { type CertificateNames, decodeCertificateNames } from "../../wire/certificate-names.ts";

export interface PeerCertificate {
  readonly der: Buffer;
  /** Undefined where they cannot be read: it is nobody's. */
  readonly names: CertificateNames | undefined;
}

const rememberedMax = 64;
/** The one that was asked for last is first. */
const remembered: PeerCertificate[] = [];

/** `der` may be memory that is used again. */
export function readPeerCertificate(der: Buffer): PeerCertificate {
  const at = remembered.findIndex((known) => known.der.equals(der));
  const known = remembered[at];
  if (known === undefined) {
    // Memory of its own: a small piece of Node's pool would keep 64 KiB of it for as long as it is remembered.
    const copy = Buffer.allocUnsafeSlow(der.length);
    der.copy(copy);
    const read = { der: copy, names: decodeCertificateNames(copy) };
    remembered.unshift(read);
    if (remembered.length > rememberedMax) remembered.pop();
    return read;
  }
  if (at > 0) {
    remembered.splice(at, 1);
    remembered.unshift(known);
  }
  return known;
}
