/** `/certs` as Envoy prints it: what certificates say, never keys. */
import { X509Certificate } from "node:crypto";

import type { SecretSource } from "../../net/secret-source.ts";

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

function splitPem(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function describe(certificate: X509Certificate): unknown {
  const daysLeft = Math.floor((certificate.validToDate.getTime() - Date.now()) / 86_400_000);
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
    days_until_expiration: String(Math.max(0, daysLeft)),
    valid_from: certificate.validFromDate.toISOString(),
    expiration_time: certificate.validToDate.toISOString(),
  };
}
