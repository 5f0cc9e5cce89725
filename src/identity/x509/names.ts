import { encodeDer, oid, sequence, tag, utf8String } from "./der.ts";

/** AlgorithmIdentifier of ECDSA with SHA-256 (RFC 5758: no parameters). */
export const ecdsaWithSha256: Uint8Array = sequence(oid("1.2.840.10045.4.3.2"));

/** A Name of one attribute: the common name. */
export function commonName(text: string): Uint8Array {
  return sequence(attribute("2.5.4.3", text));
}

/** A Name of organisation and common name. */
export function organisationAndCommonName(organisation: string, name: string): Uint8Array {
  return sequence(attribute("2.5.4.10", organisation), attribute("2.5.4.3", name));
}

function attribute(type: string, text: string): Uint8Array {
  return encodeDer(tag.set, sequence(oid(type), utf8String(text)));
}
