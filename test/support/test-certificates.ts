/** A certificate authority for tests: P-256 unless told, PEM, made in milliseconds and never reused. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";

import * as x509 from "@peculiar/x509";

export interface TestAuthority {
  readonly rootPem: string;
  issue(request: TestCertificateRequest): Promise<TestCertificate>;
  /** The list of those of its certificates that it has taken back. */
  revoke(certificates: readonly TestCertificate[]): Promise<string>;
  /** One that this one vouches for; chains of its certificates have its own behind them. */
  intermediate(limits?: TestAuthorityLimits): Promise<TestAuthority>;
}

export interface TestAuthorityLimits {
  readonly pathLength?: number;
  /** DER of NameConstraints. */
  readonly nameConstraints?: Uint8Array<ArrayBuffer>;
}

export interface TestCertificateRequest {
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly ips?: readonly string[];
  readonly emails?: readonly string[];
  readonly commonName?: string;
  /** The whole subject instead, in the order of its parts. */
  readonly subject?: x509.JsonNameParams;
  /** Milliseconds from now; negative for one that has expired. */
  readonly validForMs?: number;
  /** Of what kind its key is; of P-256 unless told. */
  readonly key?: "ec" | "rsa";
}

export interface TestCertificate {
  readonly chainPem: string;
  readonly privateKeyPem: string;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const rsa = {
  name: "RSASSA-PKCS1-v1_5",
  modulusLength: 2048,
  publicExponent: Uint8Array.of(1, 0, 1),
  hash: "SHA-256",
};
let serial = 1;

export async function makeTestAuthority(name = "test root"): Promise<TestAuthority> {
  x509.cryptoProvider.set(webcrypto);
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: nextSerial(),
    name: `O=${name}`,
    ...authorityFields(),
    keys,
  });
  return authorityOf({ certificate: root, signingKey: keys.privateKey, rest: [] }, root);
}

interface Signer {
  readonly certificate: x509.X509Certificate;
  readonly signingKey: webcrypto.CryptoKey;
  /** Below the root: itself, and who vouches for it. */
  readonly rest: readonly x509.X509Certificate[];
}

function authorityOf(signer: Signer, root: x509.X509Certificate): TestAuthority {
  return {
    rootPem: root.toString("pem"),
    issue: (request) => issue(signer, request),
    revoke: async (certificates) => {
      const list = await x509.X509CrlGenerator.create({
        issuer: signer.certificate.subject,
        thisUpdate: new Date(Date.now() - 3_600_000),
        nextUpdate: new Date(Date.now() + 86_400_000),
        entries: certificates.map(({ chainPem }) => ({
          serialNumber: new x509.X509Certificate(chainPem).serialNumber,
          revocationDate: new Date(Date.now() - 60_000),
          // Without a reason the list would not be well-formed for all.
          reason: x509.X509CrlReason.keyCompromise,
        })),
        signingAlgorithm: algorithm,
        signingKey: signer.signingKey,
      });
      // OpenSSL knows it by this name alone.
      const text = list.toString("pem").replaceAll(/(BEGIN|END) (X509 )?CRL/g, "$1 X509 CRL");
      return `${text}\n`;
    },
    intermediate: async (limits = {}) => {
      const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: nextSerial(),
        subject: `O=test intermediate ${signer.rest.length + 1}`,
        issuer: signer.certificate.subject,
        ...authorityFields(limits),
        publicKey: keys.publicKey,
        signingKey: signer.signingKey,
      });
      const rest = [certificate, ...signer.rest];
      return authorityOf({ certificate, signingKey: keys.privateKey, rest }, root);
    },
  };
}

function authorityFields({ pathLength, nameConstraints }: TestAuthorityLimits = {}) {
  return {
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, pathLength, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      ...(nameConstraints === undefined
        ? []
        : [new x509.Extension("2.5.29.30", true, nameConstraints)]),
    ],
  };
}

async function issue(
  { certificate: issuer, signingKey, rest }: Signer,
  request: TestCertificateRequest,
): Promise<TestCertificate> {
  const usages: webcrypto.KeyUsage[] = ["sign", "verify"];
  const keys =
    request.key === "rsa"
      ? await webcrypto.subtle.generateKey(rsa, true, usages)
      : await webcrypto.subtle.generateKey(algorithm, true, usages);
  const notAfterMs = Date.now() + (request.validForMs ?? 3_600_000);
  const names = [
    ...(request.uris ?? []).map((value) => new x509.GeneralName("url", value)),
    ...(request.dnsNames ?? []).map((value) => new x509.GeneralName("dns", value)),
    ...(request.ips ?? []).map((value) => new x509.GeneralName("ip", value)),
    ...(request.emails ?? []).map((value) => new x509.GeneralName("email", value)),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: nextSerial(),
    subject:
      request.subject === undefined
        ? request.commonName === undefined
          ? "O=test"
          : `CN=${request.commonName}`
        : new x509.Name(request.subject),
    issuer: issuer.subject,
    notBefore: new Date(Math.min(Date.now(), notAfterMs) - 3_600_000),
    notAfter: new Date(notAfterMs),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return {
    chainPem: [certificate, ...rest].map((one) => one.toString("pem")).join("\n"),
    privateKeyPem: x509.PemConverter.encode(key, "PRIVATE KEY"),
  };
}

function nextSerial(): string {
  serial += 1;
  return serial.toString(16).padStart(4, "0");
}
