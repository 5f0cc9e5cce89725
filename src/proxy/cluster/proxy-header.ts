/**
 * The PROXY header that connections to an endpoint begin with (`upstream_proxy_protocol`): whom each is
 * made for. A connection of a pool serves that client alone; what is made for nobody (checks of health,
 * copies of requests, the proxy's own questions) speaks for itself.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import {
  type ProxyProtocolConfig,
  ProxyProtocolConfig_Version as Version,
  type TlvEntry,
} from "../../wire/gen/ts/envoy/config/core/v3/proxy_protocol.ts";
import {
  encodeLocalHeader,
  encodeProxyHeader,
  encodeProxyLine,
  type ProxyAddresses,
  type ProxyTlv,
  tlvsOf,
} from "../../wire/proxy-protocol.ts";
import type { UpstreamEndpoint } from "../context.ts";
import { parseIp } from "../engine/ip.ts";
import { compilePassedTypes, type PassedTypes } from "../engine/passed-types.ts";
import { refuse } from "../engine/refusal.ts";
import { type DerivedEndpoints, derivedOnce, type OwnWay } from "./derived-endpoints.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ClientEnds } from "../engine/client-ends.ts";

export interface ProxyHeaderPlan {
  readonly version: 1 | 2;
  /** Of the values that came with the client's own header, those that go on. */
  readonly passes: PassedTypes;
  readonly added: readonly ProxyTlv[];
}

/** What is sent before anything else; `local`: the connection's own end. */
export type Preface = (local: SocketAddress) => Uint8Array;

/** All that a cluster, or an endpoint, adds: what a client brings comes on top, 4 KiB at most. */
const addedBytesMax = 4096;

export function compileProxyHeader(
  config: ProxyProtocolConfig | undefined,
  path: string,
): ProxyHeaderPlan {
  const version = config?.version ?? Version.V1;
  return {
    version: version === Version.V2 ? 2 : 1,
    passes: compilePassedTypes(config?.passThroughTlvs, `${path}.pass_through_tlvs`),
    added: compileTlvs(config?.addedTlvs ?? [], `${path}.added_tlvs`),
  };
}

export function compileTlvs(entries: readonly TlvEntry[], path: string): readonly ProxyTlv[] {
  const tlvs = entries.map(({ type, value }, i) => {
    if (type > 255) refuse(`${path}[${i}].type`, `${type} is no byte`);
    if (value.length === 0) refuse(`${path}[${i}].value`, "is required");
    return { type, value };
  });
  const bytes = tlvs.reduce((sum, { value }) => sum + 3 + value.length, 0);
  if (bytes > addedBytesMax) {
    refuse(path, `comes to ${bytes} bytes, of which ${addedBytesMax} are supported`);
  }
  return tlvs;
}

/** `own`: values that the endpoint adds, before its cluster's. `client`: undefined for nobody. */
export function prefaceOf(
  plan: ProxyHeaderPlan,
  own: readonly ProxyTlv[],
  remote: SocketAddress,
  client: ClientEnds | undefined,
): Preface {
  const isKnown = client !== undefined && areAddresses(client);
  if (!isKnown && plan.version === 2) return encodeLocalHeader;
  if (!isKnown) {
    return (local) => {
      const ends = { source: local, destination: remote };
      return encodeProxyLine(areAddresses(ends) ? ends : undefined);
    };
  }
  const header =
    plan.version === 1
      ? encodeProxyLine(client)
      : encodeProxyHeader(client, valuesOf(plan, own, client));
  return () => header;
}

/** Clients that connections to one endpoint are kept for; the one that came longest ago goes first. */
export const clientsMax = 1024;

/** The endpoint as connections reach it that are made for a client; `named`: the same, perhaps by a name. */
export function toldEndpoint(
  derived: DerivedEndpoints,
  { picked, named, name, ends, isAlone }: ToldWhom,
): UpstreamEndpoint {
  const { header, tlvs, address } = picked;
  if (header === undefined) return named;
  const ownWay = (): OwnWay => {
    const preface = prefaceOf(header, tlvs, address, ends);
    return named.tls === undefined ? { preface } : { preface, tls: named.tls };
  };
  if (isAlone) return derivedOnce(picked, ownWay());
  const key = `${clientKey(ends, header)} ${name}`;
  const known = derived.find(picked, key);
  if (known !== undefined) return known;
  return derived.add(picked, key, ownWay());
}

interface ToldWhom {
  readonly picked: Pick<Endpoint, "header" | "tlvs"> & UpstreamEndpoint;
  readonly named: UpstreamEndpoint;
  readonly name: string;
  readonly ends: ClientEnds;
  /** No pool is kept for it. */
  readonly isAlone: boolean;
}

/**
 * By which connections for different clients are told apart: addresses, which come again for others, and
 * values that go on, which servers decide by.
 */
export function clientKey(
  { source, destination, tlvs }: ClientEnds,
  { version, passes }: Pick<ProxyHeaderPlan, "version" | "passes">,
): string {
  let key = `${source.address} ${source.port} ${destination.address} ${destination.port}`;
  if (version === 1) return key;
  for (const { type, value } of tlvsOf(tlvs)) {
    if (passes(type)) key += ` ${type} ${value.length} ${Buffer.from(value).toString("latin1")}`;
  }
  return key;
}

/** Whose type it is first has its way, however often it says so: the endpoint, the cluster, the client. */
function valuesOf(
  { added, passes }: ProxyHeaderPlan,
  own: readonly ProxyTlv[],
  { tlvs }: ClientEnds,
): readonly ProxyTlv[] {
  const values: ProxyTlv[] = [];
  const passed = [...tlvsOf(tlvs)].filter(({ type }) => passes(type));
  for (const source of [own, added, passed]) {
    const types = new Set(values.map(({ type }) => type));
    values.push(...source.filter(({ type }) => !types.has(type)));
  }
  return values;
}

/** A client inside this proxy has none. */
function areAddresses({ source, destination }: ProxyAddresses): boolean {
  return [source, destination].every(({ address }) => parseIp(address) !== undefined);
}
