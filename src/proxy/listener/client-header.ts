/**
 * The listener filter `proxy_protocol`: which PROXY headers are taken of clients, what of their values
 * becomes metadata and what goes on to upstreams, and how they are counted. `wire/` reads them.
 */
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { DynamicMetadata } from "../../telemetry/request-record.ts";
import { ProxyProtocolConfig_Version as Version } from "../../wire/gen/ts/envoy/config/core/v3/proxy_protocol.ts";
import {
  type ProxyProtocol,
  ProxyProtocol_KeyValuePair_ValueStringEncoding as Encoding,
  type ProxyProtocol_Rule as Rule,
} from "../../wire/gen/ts/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.ts";
import {
  decodeProxyHeader,
  type ProxyAddresses,
  type ProxyHeader,
  proxyVersionOf,
  tlvsOf,
} from "../../wire/proxy-protocol.ts";
import { compilePassedTypes, type PassedTypes } from "../engine/passed-types.ts";
import { refuse } from "../engine/refusal.ts";

export interface ClientHeaderPlan {
  /** Connections without one are refused. */
  readonly isRequired: boolean;
  readonly disallowed: ReadonlySet<number>;
  /** What values become, by their type. */
  readonly rules: ReadonlyMap<number, MetadataPlace>;
  readonly passes: PassedTypes;
  readonly counters: HeaderCounters;
}

export interface MetadataPlace {
  readonly namespace: string;
  readonly key: string;
  /** Instead of text. */
  readonly isBase64: boolean;
}

/** What a header says. */
export interface ClientHeader {
  /** Undefined: the connection's own. */
  readonly addresses: ProxyAddresses | undefined;
  /** Values that go on to upstreams, as they came. */
  readonly tlvs: Uint8Array;
  readonly metadata: DynamicMetadata | undefined;
}

const ownNamespace = "envoy.filters.listener.proxy_protocol";

const versions: ReadonlyMap<number, number> = new Map([
  [Version.V1, 1],
  [Version.V2, 2],
]);

export function compileClientHeader(
  config: ProxyProtocol,
  metrics: MetricRegistry | undefined,
  path: string,
): ClientHeaderPlan {
  return {
    isRequired: !config.allowRequestsWithoutProxyProtocol,
    disallowed: new Set(config.disallowedVersions.map((one) => versions.get(one) ?? 0)),
    rules: new Map(config.rules.map((rule, i) => compileRule(rule, `${path}.rules[${i}]`))),
    passes: compilePassedTypes(config.passThroughTlvs, `${path}.pass_through_tlvs`),
    counters: headerCounters(metrics, config.statPrefix),
  };
}

function compileRule(
  { tlvType, onTlvPresent }: Rule,
  path: string,
): readonly [type: number, place: MetadataPlace] {
  if (tlvType > 255) refuse(`${path}.tlv_type`, `${tlvType} is no byte`);
  if (onTlvPresent === undefined) return refuse(`${path}.on_tlv_present`, "is required");
  const { key, metadataNamespace: namespace, valueStringEncoding: encoding } = onTlvPresent;
  if (key === "") refuse(`${path}.on_tlv_present.key`, "is required");
  const isBase64 = encoding === Encoding.BASE64;
  return [tlvType, { namespace: namespace === "" ? ownNamespace : namespace, key, isBase64 }];
}

export type HeaderReading =
  | { readonly kind: "incomplete" }
  | { readonly kind: "absent" }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "header"; readonly bytes: number; readonly client: ClientHeader };

/** Looks for the header at the beginning of what came, and counts it once that is decided. */
export function readClientHeader(plan: ClientHeaderPlan, bytes: Uint8Array): HeaderReading {
  const { counters, disallowed } = plan;
  const version = proxyVersionOf(bytes);
  const isDisallowed = version !== undefined && disallowed.has(version);
  // What is allowed without a header, and bears one of a kind that is not looked for, bears none.
  if (isDisallowed && !plan.isRequired) return absent(plan);
  const header = decodeProxyHeader(bytes);
  if (header.kind === "incomplete") return { kind: "incomplete" };
  if (header.kind === "absent") return absent(plan);
  if (isDisallowed) {
    counters.found(version);
    counters.disallowed(version);
    return { kind: "refused", reason: `a PROXY header of version ${version}` };
  }
  if (header.kind === "malformed") {
    counters.error(version ?? 0);
    return { kind: "refused", reason: header.reason };
  }
  counters.found(header.version);
  return { kind: "header", bytes: header.bytes, client: clientOf(plan, header) };
}

function absent({ isRequired, counters }: ClientHeaderPlan): HeaderReading {
  counters.absent(isRequired);
  if (!isRequired) return { kind: "absent" };
  return { kind: "refused", reason: "no PROXY header came" };
}

function clientOf(
  { rules, passes }: ClientHeaderPlan,
  { addresses, tlvs }: Extract<ProxyHeader, { kind: "header" }>,
): ClientHeader {
  let metadata: Map<string, Record<string, string>> | undefined;
  const passed: Uint8Array[] = [];
  for (const { type, value } of tlvsOf(tlvs)) {
    const place = rules.get(type);
    if (place !== undefined) {
      metadata ??= new Map();
      const fields = metadata.get(place.namespace) ?? {};
      metadata.set(place.namespace, fields);
      // The first value of a kind has its way.
      if (!Object.hasOwn(fields, place.key)) {
        fields[place.key] = place.isBase64
          ? Buffer.from(value).toString("base64")
          : sanitizedText(value);
      }
    }
    if (passes(type)) passed.push(Uint8Array.of(type, value.length >> 8, value.length), value);
  }
  return { addresses, tlvs: Uint8Array.from(Buffer.concat(passed)), metadata };
}

/** What its header says of a connection counts before what was known. */
export function withMetadata(
  known: DynamicMetadata | undefined,
  client: ClientHeader | undefined,
): DynamicMetadata | undefined {
  const told = client?.metadata;
  return told === undefined ? known : new Map([...(known ?? []), ...told]);
}

const replacement = 0x21;

/** UTF-8, in which `!` stands for every byte that is none: as Envoy does. */
export function sanitizedText(bytes: Uint8Array): string {
  const valid = Buffer.from(bytes);
  for (let at = 0; at < valid.length;) {
    const length = sequenceLength(valid, at);
    if (length === 0) valid[at] = replacement;
    at += Math.max(1, length);
  }
  return valid.toString("utf8");
}

/** Of the well-formed sequence at `at` (Unicode, table 3-7); 0 where there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (first < 0xc2 || first > 0xf4) return 0;
  for (let i = 1; i < length; i++) {
    const low = i > 1 ? 0x80 : (lowest.get(first) ?? 0x80);
    const high = i > 1 ? 0xbf : (highest.get(first) ?? 0xbf);
    const byte = bytes[at + i] ?? 0;
    if (byte < low || byte > high) return 0;
  }
  return length;
}

/** Bounds of the second byte: nothing longer than it need be, no half of a pair, nothing beyond Unicode. */
const lowest: ReadonlyMap<number, number> = new Map([
  [0xe0, 0xa0],
  [0xf0, 0x90],
]);
const highest: ReadonlyMap<number, number> = new Map([
  [0xed, 0x9f],
  [0xf4, 0x8f],
]);

export interface HeaderCounters {
  /** Of this version, also where that is not allowed. */
  found(version: number): void;
  disallowed(version: number): void;
  error(version: number): void;
  /** There was none. */
  absent(isRefused: boolean): void;
}

/** Envoy's; without a registry nobody counts. */
function headerCounters(metrics: MetricRegistry | undefined, prefix: string): HeaderCounters {
  const named = prefix === "" ? {} : { proxy_protocol_prefix: prefix };
  const count = (name: string, help: string, version?: number): (() => void) => {
    const labels =
      version === undefined ? named : { ...named, proxy_protocol_version: String(version) };
    const counter = metrics?.counter(`envoy_proxy_proto_${name}`, help, labels);
    return () => counter?.add();
  };
  const byVersion = (name: string, help: string): ((version: number) => void) => {
    const counts = [1, 2].map((version) => count(name, help, version));
    return (version) => counts[version - 1]?.();
  };
  const allowed = count("not_found_allowed", "Connections without a PROXY header that were taken");
  const refused = count("not_found_disallowed", "Connections refused for want of a PROXY header");
  const malformed = byVersion(
    "error",
    "Connections refused because their PROXY header is malformed",
  );
  const errors = metrics?.counter(
    "envoy_downstream_cx_proxy_proto_error",
    "Connections refused because their PROXY header is malformed, or not there",
  );
  return {
    found: byVersion("found", "PROXY headers"),
    disallowed: byVersion(
      "disallowed",
      "Connections refused for the version of their PROXY header",
    ),
    error: (version) => {
      malformed(version);
      errors?.add();
    },
    absent: (isRefused) => {
      (isRefused ? refused : allowed)();
      if (isRefused) errors?.add();
    },
  };
}
