import { X509Certificate } from "node:crypto";

import { HeddleError } from "../base/error.ts";
import type { GrpcChannel } from "../net/grpc-client.ts";
import {
  IstioCertificateRequest,
  IstioCertificateResponse,
} from "../wire/gen/ts/security/v1alpha1/ca.ts";
import { createCertificatePath } from "./certificate-service.ts";
import { generateKey, requestFor } from "./key.ts";
import { parseSpiffeId } from "./spiffe.ts";

/** Gets a certificate for a key made here, which never leaves the process. */
export interface CertificateClientOptions {
  readonly channel: GrpcChannel;
  /** Headers of the call: the bearer token. */
  readonly metadata: () => Readonly<Record<string, string>>;
  /** `<instance>.<namespace>`. */
  readonly instance: string;
  /** What the answer must chain to, PEM: the root this sidecar was started with. */
  readonly rootPem: string;
  readonly timeoutMs?: number;
}

export interface Certificate {
  readonly privateKeyPem: string;
  /** Leaf first, without the root. */
  readonly chainPem: string;
  readonly rootPem: string;
  readonly spiffeId: string;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const defaultTimeoutMs = 10_000;

/**
 * Makes a new key and asks for its certificate. Rejects with `GrpcError` when the authority cannot be
 * reached or refuses, with `HeddleError` (`ca.bad-answer`) when its answer is not for this key or
 * does not chain to the root.
 */
export async function requestCertificate(options: CertificateClientOptions): Promise<Certificate> {
  const key = generateKey();
  const request = IstioCertificateRequest.encode(
    IstioCertificateRequest.fromPartial({ csr: requestFor(key, options.instance) }),
  ).finish();
  const answer = await options.channel.unary(createCertificatePath, request, {
    metadata: options.metadata(),
    timeoutMs: options.timeoutMs ?? defaultTimeoutMs,
  });
  const { certChain } = IstioCertificateResponse.decode(answer);
  const chain = certChain.slice(0, -1);
  const [leafPem = ""] = chain;
  const leaf = readCertificate(leafPem);
  if (!leaf.publicKey.equals(key.publicKey)) throw badAnswer("the certificate is for another key");
  checkChain(chain, options.rootPem);
  return {
    privateKeyPem: key.privateKeyPem,
    chainPem: chain.join(""),
    rootPem: certChain.at(-1) ?? "",
    spiffeId: uriOf(leaf),
    serial: leaf.serialNumber.toLowerCase(),
    notBeforeMs: leaf.validFromDate.getTime(),
    notAfterMs: leaf.validToDate.getTime(),
  };
}

function readCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw badAnswer("the answer holds no certificate", error);
  }
}

/** Each certificate must be signed by the next, the last by one of the roots. */
function checkChain(chain: readonly string[], rootsPem: string): void {
  const certificates = chain.map(readCertificate);
  const roots = (rootsPem.match(certificateBlock) ?? []).map(readCertificate);
  for (const [i, certificate] of certificates.entries()) {
    const next = certificates[i + 1];
    const issuers = next === undefined ? roots : [next];
    const isSigned = issuers.some((one) => certificate.verify(one.publicKey));
    if (!isSigned) throw badAnswer("the certificate does not chain to the mesh's root");
  }
}

const certificateBlock = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function uriOf(leaf: X509Certificate): string {
  const [, uri = ""] = /^URI:(\S+)$/.exec(leaf.subjectAltName ?? "") ?? [];
  if (parseSpiffeId(uri) === undefined) {
    throw badAnswer(`the certificate names ${leaf.subjectAltName ?? "nobody"}, not one SPIFFE id`);
  }
  return uri;
}

function badAnswer(message: string, cause?: unknown): HeddleError {
  return new HeddleError("ca.bad-answer", message, { cause });
}
