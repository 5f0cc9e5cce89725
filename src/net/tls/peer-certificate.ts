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
    const copy = Buffer.from(der);
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
