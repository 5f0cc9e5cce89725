/** `/certs` as Envoy prints it: what certificates say, never keys. */
import { X509Certificate } from "node:crypto";

import type { SecretSource, TlsSecret } from "../../net/secret-source.ts";

export function describeCertificates(secrets: SecretSource, names: Iterable<string>): unknown {
  const own: unknown[] = [];
  const authorities: unknown[] = [];
  for (const name of names) {
    const secret = secrets.get(name);
    if (secret?.kind === "certificate") own.push(...splitPem(secret.chainPem).map(describe));
    if (secret?.kind === "validation") {
      authorities.push(...splitPem(secret.trustedCaPem).map(describe));
    }
  }
  return { certificates: [{ ca_cert: authorities, cert_chain: own }] };
}

/** Until the first of them ends; undefined where there is none. */
export function daysUntilFirstExpiry(
  secrets: SecretSource,
  names: Iterable<string>,
): number | undefined {
  let firstMs = Number.POSITIVE_INFINITY;
  for (const name of names) {
    const secret = secrets.get(name);
    if (secret === undefined) continue;
    // Asked for with every exposition; certificates are read once.
    const known = firstExpiries.get(secret) ?? firstExpiryOf(secret);
    firstExpiries.set(secret, known);
    firstMs = Math.min(firstMs, known);
  }
  return Number.isFinite(firstMs) ? daysUntil(firstMs) : undefined;
}

const firstExpiries = new WeakMap<TlsSecret, number>();

function firstExpiryOf(secret: TlsSecret): number {
  if (secret.kind === "ticket-keys" || secret.kind === "revocations")
    return Number.POSITIVE_INFINITY;
  const pem = secret.kind === "certificate" ? secret.chainPem : secret.trustedCaPem;
  return Math.min(...splitPem(pem).map(({ validToDate }) => validToDate.getTime()));
}

function daysUntil(ms: number): number {
  return Math.max(0, Math.floor((ms - Date.now()) / 86_400_000));
}

function splitPem(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function describe(certificate: X509Certificate): unknown {
  const names = (certificate.subjectAltName ?? "").split(", ");
  const valuesOf = (prefix: string): string[] =>
    names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  return {
    path: "<inline>",
    serial_number: certificate.serialNumber.toLowerCase(),
    subject_alt_names: [
      ...valuesOf("URI:").map((uri) => ({ uri })),
      ...valuesOf("DNS:").map((dns) => ({ dns })),
    ],
    days_until_expiration: String(daysUntil(certificate.validToDate.getTime())),
    valid_from: certificate.validFromDate.toISOString(),
    expiration_time: certificate.validToDate.toISOString(),
  };
}
