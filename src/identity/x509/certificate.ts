import { createHash, type KeyObject, randomBytes, sign } from "node:crypto";

import {
  bitString,
  contextTag,
  DerReader,
  encodeDer,
  implicitTag,
  integer,
  oid,
  sequence,
  tag,
  time,
} from "./der.ts";
import { ecdsaWithSha256 } from "./names.ts";

/** Writes and signs certificates (RFC 5280) with P-256 keys. What stands in them the caller decides. */
export interface CertificateContent {
  /** Names, DER. */
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  readonly spki: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** A `root` may sign authorities, an `issuer` only others. */
  readonly purpose: "root" | "issuer" | "workload" | "server";
  readonly alternativeNames: readonly AlternativeName[];
  readonly issuerKeyId: Uint8Array;
}

export type AlternativeName =
  | { readonly kind: "uri"; readonly uri: string }
  | { readonly kind: "dns"; readonly name: string }
  | { readonly kind: "ip"; readonly address: string };

/** DER of the certificate and its serial number in hexadecimal. */
export function signCertificate(
  content: CertificateContent,
  issuerKey: KeyObject,
): { readonly der: Uint8Array; readonly serial: string } {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40; // positive, and of one length
  const body = sequence(
    encodeDer(contextTag(0), integer(Uint8Array.of(2))),
    integer(serial),
    ecdsaWithSha256,
    content.issuer,
    sequence(time(content.notBeforeMs), time(content.notAfterMs)),
    content.subject,
    content.spki,
    encodeDer(contextTag(3), sequence(...extensions(content))),
  );
  const signature = sign("sha256", body, issuerKey);
  const der = sequence(body, ecdsaWithSha256, bitString(signature));
  return { der, serial: serial.toString("hex") };
}

/** The subject of a certificate that we wrote ourselves, DER. */
export function subjectOf(certificate: Uint8Array): Uint8Array {
  const outer = new DerReader(new DerReader(certificate).next(tag.sequence, "certificate").content);
  const body = new DerReader(outer.next(tag.sequence, "certificate body").content);
  body.next(contextTag(0), "version");
  body.next(tag.integer, "serial number");
  body.next(tag.sequence, "algorithm");
  body.next(tag.sequence, "issuer");
  body.next(tag.sequence, "validity");
  return body.next(tag.sequence, "subject").whole;
}

/** SHA-1 of the key's bits, as RFC 5280 4.2.1.2 suggests: an identifier, not a protection. */
export function keyIdOf(spki: Uint8Array): Uint8Array {
  // P-256 in SubjectPublicKeyInfo ends in the 65 bytes of the uncompressed point.
  return createHash("sha1").update(spki.subarray(-65)).digest();
}

function extensions(content: CertificateContent): readonly Uint8Array[] {
  const { purpose, alternativeNames } = content;
  const isAuthority = purpose === "root" || purpose === "issuer";
  const common = [
    extension("2.5.29.14", encodeDer(tag.octetString, keyIdOf(content.spki))),
    extension("2.5.29.35", sequence(encodeDer(implicitTag(0), content.issuerKeyId))),
    extension("2.5.29.19", sequence(...basicConstraints[purpose]), "critical"),
    // keyCertSign and cRLSign, or digitalSignature.
    extension(
      "2.5.29.15",
      isAuthority ? bitString(Uint8Array.of(0x06), 1) : bitString(Uint8Array.of(0x80), 7),
      "critical",
    ),
  ];
  if (isAuthority) return common;
  const usages = purpose === "workload" ? [serverAuth, clientAuth] : [serverAuth];
  return [
    ...common,
    extension("2.5.29.37", sequence(...usages)),
    extension("2.5.29.17", sequence(...alternativeNames.map(encodeAlternativeName))),
  ];
}

const truth = encodeDer(tag.boolean, Uint8Array.of(0xff));
const basicConstraints: Readonly<Record<CertificateContent["purpose"], readonly Uint8Array[]>> = {
  root: [truth],
  issuer: [truth, integer(Uint8Array.of(0))],
  workload: [],
  server: [],
};
const serverAuth = oid("1.3.6.1.5.5.7.3.1");
const clientAuth = oid("1.3.6.1.5.5.7.3.2");

function extension(id: string, value: Uint8Array, critical?: "critical"): Uint8Array {
  const flag = critical === undefined ? [] : [truth];
  return sequence(oid(id), ...flag, encodeDer(tag.octetString, value));
}

function encodeAlternativeName(name: AlternativeName): Uint8Array {
  switch (name.kind) {
    case "uri":
      return encodeDer(implicitTag(6), Buffer.from(name.uri, "ascii"));
    case "dns":
      return encodeDer(implicitTag(2), Buffer.from(name.name, "ascii"));
    case "ip":
      return encodeDer(implicitTag(7), addressBytes(name.address));
  }
}

function addressBytes(address: string): Uint8Array {
  if (/^\d+(\.\d+){3}$/.test(address)) return Uint8Array.from(address.split("."), Number);
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const front = groups(head);
  const back = groups(tail ?? "");
  const zeros = Array.from({ length: 8 - front.length - back.length }, () => 0);
  return Uint8Array.from([...front, ...zeros, ...back].flatMap((g) => [g >> 8, g & 0xff]));
}
