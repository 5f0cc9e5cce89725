/** Operators about the two connections of a request: addresses, TLS, certificates. */
import { X509Certificate } from "node:crypto";

import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { RequestRecord } from "../request-record.ts";
import { list, type Operator, type OperatorMaker, present, presentWord } from "./operator.ts";

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
    operators[`${name}_PORT`] = (record) => known(of(record))?.port;
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
  // The URL parser shortens an address as RFC 5952 asks.
  return `${new URL(`http://[${masked.join(":")}]/`).hostname.slice(1, -1)}/${bits}`;
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

/** A connection carries many requests with one certificate. */
const certificates = new WeakMap<Uint8Array, X509Certificate>();

function certificateOf(der: Uint8Array): X509Certificate {
  const parsed = certificates.get(der) ?? new X509Certificate(der);
  certificates.set(der, parsed);
  return parsed;
}

type CertificateField = (certificate: X509Certificate) => string | undefined;

const certificateFields: { readonly [name: string]: CertificateField } = {
  FINGERPRINT_256: ({ fingerprint256 }) => hex(fingerprint256),
  FINGERPRINT_1: ({ fingerprint }) => hex(fingerprint),
  SERIAL: ({ serialNumber }) => serialNumber.toLowerCase(),
  ISSUER: ({ issuer }) => rfc2253(issuer),
  CERT: (certificate) => encodeURIComponent(certificate.toString()),
  CERT_V_START: ({ validFromDate }) => validFromDate.toISOString(),
  CERT_V_END: ({ validToDate }) => validToDate.toISOString(),
};

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
  const add = (side: string, der: DerOf, names: readonly string[]): void => {
    for (const name of names) {
      const field = certificateFields[name];
      operators[`${side}_PEER_${name}`] = (record) => {
        const bytes = der(record);
        return bytes === undefined ? undefined : field?.(certificateOf(bytes));
      };
    }
  };
  add("DOWNSTREAM", (record) => record.downstreamTls?.peerCertificateDer, [
    "FINGERPRINT_256",
    "FINGERPRINT_1",
    "SERIAL",
    "ISSUER",
    "CERT",
    "CERT_V_START",
    "CERT_V_END",
  ]);
  add("UPSTREAM", (record) => record.upstreamTls?.peerCertificateDer, [
    "ISSUER",
    "CERT",
    "CERT_V_START",
    "CERT_V_END",
  ]);
  return operators;
}

function commonNameSubject(commonName: string): string {
  return commonName === "" ? "" : `CN=${commonName}`;
}

export const connectionOperators: { readonly [name: string]: Operator } = {
  ...addressOperators(),
  ...certificateOperators(),
  UPSTREAM_HOST: (record) => text(record.upstreamHost),
  UPSTREAM_HOST_NAME: (record) => present(record.upstreamHostName) ?? text(record.upstreamHost),
  UPSTREAM_HOST_NAME_WITHOUT_PORT: (record) =>
    present(record.upstreamHostName) ?? known(record.upstreamHost)?.address,
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

export const connectionOperatorMakers: { readonly [name: string]: OperatorMaker } = maskMakers();
