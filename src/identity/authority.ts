import { createPublicKey, type KeyObject, X509Certificate } from "node:crypto";

import type { Clock } from "../base/clock.ts";
import { HeddleError } from "../base/error.ts";
import { generateKey } from "./key.ts";
import { type SpiffeParts, spiffeIdOf } from "./spiffe.ts";
import {
  type AlternativeName,
  type CertificateContent,
  keyIdOf,
  signCertificate,
  subjectOf,
} from "./x509/certificate.ts";
import { readCsr } from "./x509/csr.ts";
import { commonName, organisationAndCommonName } from "./x509/names.ts";
import { decodePem, encodePem } from "./x509/pem.ts";

/**
 * The mesh's own certificate authority: one root per mesh, which signs an intermediate, which signs
 * everything else. The intermediate's key lives in this process alone and is made anew with it. The
 * authority decides every field of what it signs; a request contributes its public key alone. Where
 * the root is kept is `root-store.ts`.
 */
export interface AuthorityOptions {
  readonly root: RootCredentials;
  readonly trustDomain: string;
  /** Validity of workload certificates. */
  readonly certificateTtlMs: number;
  readonly clock: Clock;
}

export interface RootCredentials {
  readonly key: KeyObject;
  readonly certificatePem: string;
}

export interface WorkloadRequest extends Omit<SpiffeParts, "trustDomain"> {
  /** PEM, as Istio's agents send it. */
  readonly csrPem: string;
  /** `<instance>.<namespace>`: becomes the subject, by which peers name the instance in metrics. */
  readonly instance: string;
  /** Shorter than the authority's own is honoured. */
  readonly ttlMs?: number;
}

export interface IssuedCertificate {
  readonly certificatePem: string;
  /** The certificate and its intermediate: what its holder must present. */
  readonly chainPem: string;
  readonly serial: string;
  readonly notAfterMs: number;
}

/** The DNS name that proxies expect in the control plane's certificate. */
export const controlPlaneServerName = "istiod.istio-system.svc";

const yearMs = 365 * 86_400_000;
/** Certificates begin in the past by this much, for peers whose clocks are behind. */
const backdateMs = 60_000;
const subjectBytesMax = 64;
/** An intermediate signs for the first half of its life, so that all it signed can end within it. */
const intermediateLifeMs = yearMs;

interface Intermediate {
  readonly key: KeyObject;
  readonly pem: string;
  readonly keyId: Uint8Array;
  readonly name: Uint8Array;
  readonly notAfterMs: number;
  readonly signsUntilMs: number;
}

/** A root's certificate for this key: ten years. */
export function selfSignRoot(
  key: KeyObject,
  subject: { readonly trustDomain: string; readonly mesh: string },
  nowMs: number,
): string {
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  // X.520 limits both names to 64 characters.
  const name = organisationAndCommonName(
    subject.trustDomain.slice(0, subjectBytesMax),
    `heddle root of ${subject.mesh}`.slice(0, subjectBytesMax),
  );
  const { der } = signCertificate(
    {
      subject: name,
      issuer: name,
      spki,
      notBeforeMs: nowMs - backdateMs,
      notAfterMs: nowMs + 10 * yearMs,
      purpose: "root",
      alternativeNames: [],
      issuerKeyId: keyIdOf(spki),
    },
    key,
  );
  return encodePem("CERTIFICATE", der);
}

export class CertificateAuthority {
  readonly trustDomain: string;
  readonly rootPem: string;
  readonly rootSerial: string;
  readonly rootNotAfterMs: number;
  readonly certificateTtlMs: number;
  readonly #key: KeyObject;
  readonly #issuer: Uint8Array;
  readonly #issuerKeyId: Uint8Array;
  readonly #clock: Clock;
  #intermediate: Intermediate;

  /** Throws when key and certificate do not belong together or the root has expired. */
  constructor({ root, trustDomain, certificateTtlMs, clock }: AuthorityOptions) {
    const certificate = new X509Certificate(root.certificatePem);
    if (!certificate.checkPrivateKey(root.key)) {
      throw new HeddleError("ca.key-mismatch", "the root's key and certificate do not match");
    }
    this.rootNotAfterMs = certificate.validToDate.getTime();
    if (this.rootNotAfterMs <= clock.nowMs()) {
      throw new HeddleError("ca.root-expired", `the root expired on ${certificate.validTo}`);
    }
    const [der = new Uint8Array()] = decodePem("CERTIFICATE", root.certificatePem);
    this.#issuer = subjectOf(der);
    const spki = certificate.publicKey.export({ type: "spki", format: "der" });
    this.#issuerKeyId = keyIdOf(spki);
    this.#key = root.key;
    this.#clock = clock;
    this.trustDomain = trustDomain;
    this.certificateTtlMs = certificateTtlMs;
    this.rootPem = root.certificatePem;
    this.rootSerial = certificate.serialNumber.toLowerCase();
    this.#intermediate = this.#makeIntermediate();
  }

  /** What signs now, PEM; public. */
  get intermediatePem(): string {
    return this.#intermediate.pem;
  }

  /** A certificate for the workload the channel proved the caller to be, or why there is none. */
  issueWorkload(request: WorkloadRequest): IssuedCertificate | { readonly refusal: string } {
    const { namespace, serviceAccount, instance } = request;
    const id = spiffeIdOf({ trustDomain: this.trustDomain, namespace, serviceAccount });
    if (id === undefined) {
      return { refusal: `namespace ${namespace} and account ${serviceAccount} make no SPIFFE id` };
    }
    if (Buffer.byteLength(instance) > subjectBytesMax) {
      return { refusal: `instance name ${instance} is longer than ${subjectBytesMax} bytes` };
    }
    const [der, ...more] = decodePem("CERTIFICATE REQUEST", request.csrPem);
    if (der === undefined || more.length > 0) return { refusal: "not one certificate request" };
    const read = readCsr(der);
    if ("refusal" in read) return { refusal: `certificate request: ${read.refusal}` };
    const asked = request.ttlMs ?? 0;
    return this.#sign({
      subject: commonName(instance),
      spki: read.spki,
      purpose: "workload",
      alternativeNames: [{ kind: "uri", uri: id }],
      ttlMs: asked > 0 ? Math.min(asked, this.certificateTtlMs) : this.certificateTtlMs,
    });
  }

  /** A certificate for the control plane's own listener. */
  issueServer(
    publicKey: KeyObject,
    names: { readonly dns: readonly string[]; readonly addresses: readonly string[] },
    ttlMs: number,
  ): IssuedCertificate {
    const [first = "heddle"] = names.dns;
    return this.#sign({
      subject: commonName(first.slice(0, subjectBytesMax)),
      spki: publicKey.export({ type: "spki", format: "der" }),
      purpose: "server",
      alternativeNames: [
        ...names.dns.map((name): AlternativeName => ({ kind: "dns", name })),
        ...names.addresses.map((address): AlternativeName => ({ kind: "ip", address })),
      ],
      ttlMs,
    });
  }

  #sign(
    content: Pick<CertificateContent, "subject" | "spki" | "purpose" | "alternativeNames"> & {
      readonly ttlMs: number;
    },
  ): IssuedCertificate {
    const nowMs = this.#clock.nowMs();
    if (nowMs >= this.#intermediate.signsUntilMs) this.#intermediate = this.#makeIntermediate();
    const issuer = this.#intermediate;
    // Nothing outlives its issuer: a verifier would refuse the chain anyway.
    const notAfterMs = Math.min(nowMs + content.ttlMs, issuer.notAfterMs);
    const { der, serial } = signCertificate(
      {
        ...content,
        issuer: issuer.name,
        issuerKeyId: issuer.keyId,
        notBeforeMs: nowMs - backdateMs,
        notAfterMs,
      },
      issuer.key,
    );
    const certificatePem = encodePem("CERTIFICATE", der);
    return { certificatePem, chainPem: certificatePem + issuer.pem, serial, notAfterMs };
  }

  #makeIntermediate(): Intermediate {
    const nowMs = this.#clock.nowMs();
    const { privateKey, publicKey } = generateKey();
    const spki = publicKey.export({ type: "spki", format: "der" });
    const notAfterMs = Math.min(nowMs + intermediateLifeMs, this.rootNotAfterMs);
    const name = organisationAndCommonName(
      this.trustDomain.slice(0, subjectBytesMax),
      "heddle intermediate",
    );
    const { der } = signCertificate(
      {
        subject: name,
        issuer: this.#issuer,
        spki,
        notBeforeMs: nowMs - backdateMs,
        notAfterMs,
        purpose: "issuer",
        alternativeNames: [],
        issuerKeyId: this.#issuerKeyId,
      },
      this.#key,
    );
    return {
      key: privateKey,
      pem: encodePem("CERTIFICATE", der),
      keyId: keyIdOf(spki),
      name,
      notAfterMs,
      signsUntilMs: nowMs + (notAfterMs - nowMs) / 2,
    };
  }
}
