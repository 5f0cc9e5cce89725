import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";

import { messageOf } from "../../base/error.ts";
import { bitString, contextTag, DerReader, encodeDer, integer, sequence, tag } from "./der.ts";
import { commonName, ecdsaWithSha256 } from "./names.ts";

/**
 * Certificate requests (PKCS #10, RFC 2986). Of one that arrives only the public key is taken, after
 * its signature has proved that the sender holds the private key; whatever subject or extensions it
 * asks for is not even read: who the sender is, the channel says.
 */
export interface ReadRequest {
  readonly publicKey: KeyObject;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
}

/** Longer than any honest request with a P-256 key. */
export const csrBytesMax = 4096;

/** The request's key, or why it is refused. Never throws. */
export function readCsr(der: Uint8Array): ReadRequest | { readonly refusal: string } {
  if (der.length > csrBytesMax) return { refusal: `request longer than ${csrBytesMax} bytes` };
  try {
    return readStrictly(der);
  } catch (error) {
    return { refusal: messageOf(error) };
  }
}

/** A request for this key; the subject is a courtesy to those who read it. */
export function createCsr(privateKey: KeyObject, subjectCommonName: string): Uint8Array {
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const body = sequence(
    integer(Uint8Array.of(0)),
    commonName(subjectCommonName),
    spki,
    encodeDer(contextTag(0)),
  );
  const signature = sign("sha256", body, privateKey);
  return sequence(body, ecdsaWithSha256, bitString(signature));
}

function readStrictly(der: Uint8Array): ReadRequest | { readonly refusal: string } {
  const outer = new DerReader(der);
  const request = new DerReader(outer.next(tag.sequence, "request").content);
  outer.end("request");
  const body = request.next(tag.sequence, "request body");
  const algorithm = request.next(tag.sequence, "signature algorithm");
  const signature = request.next(tag.bitString, "signature");
  request.end("request");

  const fields = new DerReader(body.content);
  const version = fields.next(tag.integer, "version");
  fields.next(tag.sequence, "subject");
  const { whole: spki } = fields.next(tag.sequence, "public key");
  fields.next(contextTag(0), "attributes");
  fields.end("request body");

  if (version.content.length !== 1 || version.content[0] !== 0) return { refusal: "not version 1" };
  if (!Buffer.from(algorithm.whole).equals(ecdsaWithSha256)) {
    return { refusal: "signed by another algorithm than ECDSA with SHA-256" };
  }
  if (signature.content[0] !== 0) return { refusal: "signature is not of whole bytes" };
  const publicKey = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  if (publicKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    return { refusal: "key is not on the curve P-256" };
  }
  if (!verify("sha256", body.whole, publicKey, signature.content.subarray(1))) {
    return { refusal: "the signature does not prove possession of the key" };
  }
  // As we write it, not as it came: one key, one form.
  return { publicKey, spki: publicKey.export({ type: "spki", format: "der" }) };
}
