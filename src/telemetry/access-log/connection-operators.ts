/** Operators about the two connections of a request: addresses, TLS, certificates. */
import { X509Certificate } from "node:crypto";

import { formatSocketAddress, hasPort, type SocketAddress } from "../../base/socket-address.ts";
import type { OwnNames, RequestRecord } from "../request-record.ts";
import {
  impossible,
  list,
  type Operator,
  type OperatorMaker,
  present,
  presentWord,
} from "./operator.ts";
import { dateFormatMaker } from "./time-operators.ts";

type AddressOf = (record: RequestRecord) => SocketAddress | undefined;

const addresses: { readonly [name: string]: AddressOf } = {
  UPSTREAM_LOCAL: (record) => record.upstreamLocalAddress,
  // Of the connection, which an endpoint that was chosen need not have.
  UPSTREAM_REMOTE: (record) =>
    record.upstreamLocalAddress === undefined
      ? undefined
      : (record.upstreamRemoteAddress ?? record.upstreamHost),
  DOWNSTREAM_LOCAL: (record) => record.downstreamLocalAddress,
  DOWNSTREAM_REMOTE: (record) => record.downstreamRemoteAddress,
  DOWNSTREAM_DIRECT_LOCAL: (record) =>
    record.downstreamDirectLocalAddress ?? record.downstreamLocalAddress,
  DOWNSTREAM_DIRECT_REMOTE: (record) =>
    record.downstreamDirectAddress ?? record.downstreamRemoteAddress,
};

function known(value: SocketAddress | undefined): SocketAddress | undefined {
  return value === undefined || value.address === "" ? undefined : value;
}

/** Endpoints and connections keep their address objects as long as they live. */
const texts = new WeakMap<SocketAddress, string>();

function text(value: SocketAddress | undefined): string | undefined {
  if (value === undefined || value.address === "") return undefined;
  let formatted = texts.get(value);
  if (formatted === undefined) {
    formatted = formatSocketAddress(value);
    texts.set(value, formatted);
  }
  return formatted;
}

function addressOperators(): Record<string, Operator> {
  const operators: Record<string, Operator> = {};
  for (const [name, of] of Object.entries(addresses)) {
    operators[`${name}_ADDRESS`] = (record) => text(of(record));
    operators[`${name}_ADDRESS_WITHOUT_PORT`] = (record) => known(of(record))?.address;
    operators[`${name}_PORT`] = (record) => {
      const address = known(of(record));
      if (address === undefined) return undefined;
      return hasPort(address.address) ? address.port : impossible;
    };
  }
  return operators;
}

/** `%…_WITHOUT_PORT(16)%`: the network of the address, `10.1.0.0/16`. */
function maskMakers(): Record<string, OperatorMaker> {
  const makers: Record<string, OperatorMaker> = {};
  for (const [name, of] of Object.entries(addresses)) {
    makers[`${name}_ADDRESS_WITHOUT_PORT`] = (argument) => {
      const bits = /^\d{1,3}$/.test(argument) ? Number(argument) : 129;
      if (bits > 128) return "needs a number of bits";
      return (record) => maskAddress(known(of(record))?.address, bits);
    };
  }
  return makers;
}

/** Undefined for more bits than the address has. */
export function maskAddress(address: string | undefined, bits: number): string | undefined {
  if (address === undefined) return undefined;
  if (!address.includes(":")) {
    const parts = address.split(".").map(Number);
    if (parts.length !== 4 || bits > 32) return undefined;
    return `${maskParts(parts, 8, bits).join(".")}/${bits}`;
  }
  const groups = expandGroups(address);
  if (groups === undefined) return undefined;
  const masked = maskParts(groups, 16, bits).map((group) => group.toString(16));
  return `${shortAddress(masked.join(":"))}/${bits}`;
}

function maskParts(parts: readonly number[], width: number, bits: number): number[] {
  return parts.map((part, i) => {
    const kept = Math.max(0, Math.min(width, bits - i * width));
    return part & ((2 ** kept - 1) << (width - kept));
  });
}

function expandGroups(address: string): number[] | undefined {
  const [head = "", tail] = address.split("%", 1)[0]?.split("::") ?? [];
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const missing = 8 - left.length - right.length;
  if (missing < 0 || (tail === undefined && missing > 0)) return undefined;
  const zeros = Array.from({ length: missing }, () => "0");
  const groups = [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16));
  return groups.some(Number.isNaN) ? undefined : groups;
}

type DerOf = (record: RequestRecord) => Uint8Array | undefined;

const peerCertificates = {
  DOWNSTREAM: (record) => record.downstreamTls?.peerCertificateDer,
  UPSTREAM: (record) => record.upstreamTls?.peerCertificateDer,
} satisfies { readonly [side: string]: DerOf };

/** A connection carries many requests with one certificate. */
const certificates = new WeakMap<Uint8Array, X509Certificate>();

function certificateOf(der: Uint8Array): X509Certificate {
  const parsed = certificates.get(der) ?? new X509Certificate(der);
  certificates.set(der, parsed);
  return parsed;
}

type CertificateField = (certificate: X509Certificate) => string | undefined;

const certificateFields: { readonly [name: string]: CertificateField } = {
  SUBJECT: ({ subject }) => rfc2253(subject),
  DNS_SAN: namesOf("DNS"),
  EMAIL_SAN: namesOf("email"),
  IP_SAN: namesOf("IP Address", shortAddress),
  FINGERPRINT_256: ({ fingerprint256 }) => hex(fingerprint256),
  FINGERPRINT_1: ({ fingerprint }) => hex(fingerprint),
  SERIAL: ({ serialNumber }) => serialNumber.toLowerCase(),
  ISSUER: ({ issuer }) => rfc2253(issuer),
  CERT: (certificate) => encodeURIComponent(certificate.toString()),
  CERT_V_START: ({ validFromDate }) => validFromDate.toISOString(),
  CERT_V_END: ({ validToDate }) => validToDate.toISOString(),
};

/** Alternative names of one kind; Node quotes those that hold commas. */
function namesOf(kind: string, shown: (name: string) => string = (name) => name): CertificateField {
  const pattern = new RegExp(`(?:^|, )${kind}:("(?:[^"\\\\]|\\\\.)*"|[^,]*)`, "g");
  return ({ subjectAltName = "" }) => {
    const names = Array.from(subjectAltName.matchAll(pattern), ([, name = ""]) => {
      const unquoted: unknown = name.startsWith('"') ? JSON.parse(name) : name;
      return shown(String(unquoted));
    });
    return list(names);
  };
}

/** As RFC 5952 asks: the URL parser writes it so. */
function shortAddress(address: string): string {
  if (!address.includes(":")) return address;
  return new URL(`http://[${address}]/`).hostname.slice(1, -1);
}

/** `AB:CD` → `abcd`. */
function hex(colons: string): string {
  return colons.replaceAll(":", "").toLowerCase();
}

/** OpenSSL's lines, the last part first. */
function rfc2253(lines: string): string {
  return lines.split("\n").toReversed().join(",");
}

function certificateOperators(): Record<string, Operator> {
  const operators: Record<string, Operator> = {};
  const add = (side: keyof typeof peerCertificates, names: readonly string[]): void => {
    const der = peerCertificates[side];
    for (const name of names) {
      const field = certificateFields[name];
      operators[`${side}_PEER_${name}`] = (record) => {
        const bytes = der(record);
        return bytes === undefined ? undefined : field?.(certificateOf(bytes));
      };
    }
  };
  add("DOWNSTREAM", [
    "FINGERPRINT_256",
    "FINGERPRINT_1",
    "SERIAL",
    "ISSUER",
    "CERT",
    "CERT_V_START",
    "CERT_V_END",
    "DNS_SAN",
    "EMAIL_SAN",
    "IP_SAN",
  ]);
  add("UPSTREAM", ["ISSUER", "CERT", "CERT_V_START", "CERT_V_END", "DNS_SAN", "IP_SAN", "SUBJECT"]);
  return operators;
}

type OwnNamesOf = (names: OwnNames) => string | undefined;

const ownNameFields: { readonly [name: string]: OwnNamesOf } = {
  SUBJECT: ({ subject }) => present(subject),
  DNS_SAN: ({ dnsSans }) => list(dnsSans),
  EMAIL_SAN: ({ emailSans }) => list(emailSans),
  IP_SAN: ({ ipSans }) => list(ipSans.map(shortAddress)),
};

/** Names in our own certificate, on either side; Envoy has not all of them on the side of endpoints. */
function ownNameOperators(): Record<string, Operator> {
  const operators: Record<string, Operator> = {};
  for (const [name, field] of Object.entries(ownNameFields)) {
    operators[`DOWNSTREAM_LOCAL_${name}`] = ({ downstreamTls }) =>
      downstreamTls?.ownNames && field(downstreamTls.ownNames);
  }
  for (const name of ["DNS_SAN", "IP_SAN"]) {
    operators[`UPSTREAM_LOCAL_${name}`] = ({ upstreamTls }) =>
      upstreamTls?.ownNames && ownNameFields[name]?.(upstreamTls.ownNames);
  }
  return operators;
}

function commonNameSubject(commonName: string): string {
  return commonName === "" ? "" : `CN=${commonName}`;
}

export const connectionOperators: { readonly [name: string]: Operator } = {
  ...addressOperators(),
  ...certificateOperators(),
  ...ownNameOperators(),
  UPSTREAM_HOST: (record) => text(record.upstreamHost),
  UPSTREAM_HOST_NAME: (record) => present(record.upstreamHostName) ?? text(record.upstreamHost),
  UPSTREAM_HOST_NAME_WITHOUT_PORT: (record) =>
    present(record.upstreamHostName) ?? known(record.upstreamHost)?.address,
  FILTER_CHAIN_NAME: (record) => present(record.filterChain?.name),
  CONNECTION_ID: (record) => record.connectionId,
  UPSTREAM_CONNECTION_ID: (record) => record.upstreamConnectionId ?? 0,
  REQUESTED_SERVER_NAME: (record) => present(record.requestedServerName),
  DOWNSTREAM_TLS_VERSION: (record) => present(record.downstreamTlsVersion),
  DOWNSTREAM_TLS_CIPHER: (record) => present(record.downstreamTls?.cipher),
  UPSTREAM_TLS_VERSION: (record) => present(record.upstreamTls?.version),
  UPSTREAM_TLS_CIPHER: (record) => present(record.upstreamTls?.cipher),
  DOWNSTREAM_PEER_URI_SAN: (record) => list(record.downstreamPeerUriSans),
  DOWNSTREAM_LOCAL_URI_SAN: (record) => list(record.downstreamLocalUriSans),
  DOWNSTREAM_PEER_SUBJECT: (record) =>
    present(record.downstreamPeerSubject ?? commonNameSubject(record.downstreamPeerCommonName)),
  UPSTREAM_PEER_URI_SAN: (record) => list(record.upstreamPeerUriSans),
  UPSTREAM_LOCAL_URI_SAN: (record) => list(record.upstreamLocalUriSans),
  UPSTREAM_TRANSPORT_FAILURE_REASON: (record) => presentWord(record.upstreamTransportFailureReason),
  // Of listeners' own logs alone, which are not written for what has become a request.
  DOWNSTREAM_TRANSPORT_FAILURE_REASON: (record) =>
    presentWord(record.downstreamTransportFailureReason ?? ""),
};

/** `%DOWNSTREAM_PEER_CERT_V_END(%s)%`: in a form of one's own. */
function validityMakers(): Record<string, OperatorMaker> {
  const makers: Record<string, OperatorMaker> = {};
  for (const [side, der] of Object.entries(peerCertificates)) {
    for (const [name, of] of Object.entries(validityDates)) {
      makers[`${side}_PEER_${name}`] = dateFormatMaker((record) => {
        const bytes = der(record);
        return bytes === undefined ? undefined : of(certificateOf(bytes));
      });
    }
  }
  return makers;
}

const validityDates: { readonly [name: string]: (certificate: X509Certificate) => Date } = {
  CERT_V_START: ({ validFromDate }) => validFromDate,
  CERT_V_END: ({ validToDate }) => validToDate,
};

const originalHost = "x-envoy-original-host";

const requestedHosts: {
  readonly [name: string]: (record: RequestRecord) => string | undefined;
} = {
  ORIG: (record) => record.requestHeader(originalHost),
  HOST: (record) => present(record.authority),
  ORIG_OR_HOST: (record) => record.requestHeader(originalHost) ?? present(record.authority),
};

/** `%REQUESTED_SERVER_NAME(SNI_ONLY|SNI_FIRST|HOST_FIRST:ORIG|HOST|ORIG_OR_HOST)%`. */
function serverNameOperator(argument: string): Operator | string {
  const [order = "", source = "ORIG_OR_HOST", ...rest] = argument.split(":");
  const host = Object.hasOwn(requestedHosts, source) ? requestedHosts[source] : undefined;
  if (host === undefined || rest.length > 0) return serverNameForms;
  const name: Operator = (record) => present(record.requestedServerName);
  switch (order) {
    case "":
    case "SNI_ONLY":
      return name;
    case "SNI_FIRST":
      return (record) => name(record) ?? host(record);
    case "HOST_FIRST":
      return (record) => host(record) ?? name(record);
    default:
      return serverNameForms;
  }
}

const serverNameForms = "needs SNI_ONLY, SNI_FIRST or HOST_FIRST, then ORIG, HOST or ORIG_OR_HOST";

export const connectionOperatorMakers: { readonly [name: string]: OperatorMaker } = {
  ...maskMakers(),
  ...validityMakers(),
  REQUESTED_SERVER_NAME: serverNameOperator,
};
