import { X509Certificate } from "node:crypto";

import type { DataSource } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import type { Secret } from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type { ProxyDump } from "./dump.ts";
import type { ViewFilter } from "./filter.ts";
import type { View } from "./view.ts";

export interface ShownSecret {
  readonly name: string;
  readonly type: string;
  readonly state: string;
  readonly version: string;
  readonly chain: readonly ShownCertificate[];
}

interface ShownCertificate {
  readonly subject: string;
  readonly serial: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly isValidNow: boolean;
  readonly uriSan: string;
  readonly pem: string;
}

export function viewSecrets(dump: ProxyDump, filter: ViewFilter, nowMs: number): View {
  const secrets = shownSecrets(dump, nowMs).filter(
    ({ name }) => filter.name === undefined || filter.name === name,
  );
  return {
    head: [
      "NAME",
      "TYPE",
      "STATE",
      "VALID",
      "SERIAL",
      "NOT AFTER",
      "NOT BEFORE",
      "SPIFFE ID",
      "CHAIN",
    ],
    rows: secrets.map(({ name, type, state, chain: [leaf, ...others] }) => [
      name,
      type,
      state,
      leaf === undefined ? "-" : String(leaf.isValidNow),
      leaf?.serial ?? "-",
      leaf?.notAfter ?? "-",
      leaf?.notBefore ?? "-",
      leaf === undefined || leaf.uriSan === "" ? "-" : leaf.uriSan,
      leaf === undefined ? "-" : String(1 + others.length),
    ]),
    json: secrets.map((secret) => ({ ...secret, chain: secret.chain.map((one) => ({ ...one })) })),
  };
}

/** The certificates alone, as `-o pem` prints them. */
export function formatPem(dump: ProxyDump, filter: ViewFilter): string {
  return shownSecrets(dump, 0)
    .filter(({ name }) => filter.name === undefined || filter.name === name)
    .flatMap(({ chain }) => chain.map(({ pem }) => pem.trimEnd()))
    .join("\n");
}

function shownSecrets(dump: ProxyDump, nowMs: number): readonly ShownSecret[] {
  return dump.secrets.map(({ message, version, state }) => ({
    name: message.name,
    type: typeOf(message),
    state,
    version,
    chain: splitPem(pemOf(message)).map((pem) => showCertificate(pem, nowMs)),
  }));
}

function typeOf({ type }: Secret): string {
  switch (type.case) {
    case "tlsCertificate":
      return "Cert Chain";
    case "validationContext":
      return "CA";
    case "sessionTicketKeys":
    case "genericSecret":
      return type.case;
    case undefined:
      return "-";
  }
}

function pemOf({ type }: Secret): string {
  switch (type.case) {
    case "tlsCertificate":
      return textOf(type.value.certificateChain);
    case "validationContext":
      return textOf(type.value.trustedCa);
    case "sessionTicketKeys":
    case "genericSecret":
    case undefined:
      return "";
  }
}

function textOf(source: DataSource | undefined): string {
  switch (source?.specifier.case) {
    case "inlineBytes":
      return Buffer.from(source.specifier.value).toString("utf8");
    case "inlineString":
      return source.specifier.value;
    case "filename":
    case "environmentVariable":
    case undefined:
      return "";
  }
}

function splitPem(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
}

function showCertificate(pem: string, nowMs: number): ShownCertificate {
  const certificate = new X509Certificate(pem);
  const uriSan = /URI:([^,]+)/.exec(certificate.subjectAltName ?? "")?.[1] ?? "";
  return {
    subject: certificate.subject,
    serial: certificate.serialNumber.toLowerCase(),
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    isValidNow:
      certificate.validFromDate.getTime() <= nowMs && nowMs < certificate.validToDate.getTime(),
    uriSan,
    pem: `${pem}\n`,
  };
}
