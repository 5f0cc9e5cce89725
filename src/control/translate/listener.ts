/** Builders that inbound, outbound and gateway listeners share. */
import { create } from "@bufbuild/protobuf";

import type { ResourceRef } from "../../base/problem.ts";
import type { Listener } from "../../wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import { ListenerSchema } from "../../wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import type {
  FilterChainMatchSchema,
  FilterChainSchema,
  FilterSchema,
  ListenerFilterChainMatchPredicateSchema as PredicateSchema,
  ListenerFilterSchema,
} from "../../wire/gen/es/envoy/config/listener/v3/listener_components_pb.ts";
import type { TrafficDirection } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import { HttpInspectorSchema } from "../../wire/gen/es/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts";
import { ProxyProtocolSchema } from "../../wire/gen/es/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.ts";
import { OriginalDstSchema } from "../../wire/gen/es/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts";
import { TlsInspectorSchema } from "../../wire/gen/es/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts";
import { listenerAccessLogs } from "./access-log.ts";
import type { Init } from "./proto.ts";
import { duration, socketAddress, typedConfig } from "./proto.ts";
import type { ProxyView } from "./proxy-view.ts";
import type { TransportSocketInit } from "./tls.ts";

export type ChainInit = Init<typeof FilterChainSchema>;
export type MatchInit = Init<typeof FilterChainMatchSchema>;
export type FilterInit = Init<typeof FilterSchema>;

export interface TranslatedListener {
  readonly listener: Listener;
  readonly origins: readonly ResourceRef[];
  /** Route configurations its chains ask for. */
  readonly routeNames: readonly string[];
}

export interface ListenerParts {
  readonly name: string;
  /** The first is the listener's own, the others additional. */
  readonly addresses: readonly (readonly [address: string, port: number])[];
  readonly direction: TrafficDirection;
  readonly chains: readonly ChainInit[];
  readonly fallback?: ChainInit;
  readonly inspects: readonly ("tls" | "http" | "original-dst" | "proxy-header")[];
  /** Destination ports where nobody waits to see whether HTTP is spoken. */
  readonly notHttp?: readonly number[];
  /** Whose server may speak first: then the client's first bytes are not waited for without end. */
  readonly waitsFor?: "server" | "workload" | "nobody";
  readonly isBound: boolean;
  readonly usesOriginalDst?: boolean;
}

export function listener(view: ProxyView, parts: ListenerParts): Listener {
  const [first, ...others] = parts.addresses.map(([address, port]) => socketAddress(address, port));
  // As Istio: who is late with a ClientHello must not get past the routes by its name.
  const isByName = parts.waitsFor === undefined && !parts.inspects.includes("http");
  return create(ListenerSchema, {
    name: parts.name,
    ...(first === undefined ? {} : { address: first }),
    additionalAddresses: others.map((address) => ({ address })),
    trafficDirection: parts.direction,
    filterChains: [...parts.chains],
    ...(parts.fallback === undefined ? {} : { defaultFilterChain: parts.fallback }),
    listenerFilters: parts.inspects.map((kind) => listenerFilters[kind](parts.notHttp ?? [])),
    // A PROXY header that does not come ends the connection: nobody knows whose it is. So does, at a gateway, a
    // ClientHello that does not come, within the 15 seconds of data planes: whoever waits there could wait for ever.
    ...(parts.waitsFor !== "nobody" &&
    parts.inspects.some((kind) => kind === "tls" || kind === "http")
      ? {
          listenerFiltersTimeout: duration(isByName ? 0 : detectionMs(view, parts)),
          continueOnListenerFiltersTimeout: true,
        }
      : {}),
    ...(parts.isBound ? {} : { bindToPort: false }),
    ...(parts.usesOriginalDst === true ? { useOriginalDst: true } : {}),
    accessLog: listenerAccessLogs(view),
  });
}

/**
 * Heddle's proxy remembers who speaks first, so that a server which does is waited for once and a client of an
 * HTTP server may be silent. Envoy would ask each connection anew: as with Istio, it waits for ever.
 */
const serverBoundMs = 1000;
/**
 * Towards the workload nothing is remembered, and a peer's ClientHello must not be taken for anything else:
 * what is still to come after so long is no handshake. It was Istio's own bound for years.
 */
const workloadBoundMs = 5000;

/** How long the first bytes of a connection are waited for; 0 is without end. */
export function detectionMs(
  { proxy, model }: ProxyView,
  { waitsFor }: Pick<ListenerParts, "waitsFor">,
): number {
  const { protocolDetectionTimeoutMs } = model.settings;
  if (protocolDetectionTimeoutMs !== undefined) return protocolDetectionTimeoutMs;
  if (proxy.dataPlane !== "heddle") return 0;
  if (waitsFor === "server") return serverBoundMs;
  return waitsFor === "workload" ? workloadBoundMs : 0;
}

const listenerFilters = {
  tls: (): Init<typeof ListenerFilterSchema> => ({
    name: "envoy.filters.listener.tls_inspector",
    configType: typedConfig(TlsInspectorSchema, {}),
  }),
  http: (notHttp: readonly number[]): Init<typeof ListenerFilterSchema> => ({
    name: "envoy.filters.listener.http_inspector",
    configType: typedConfig(HttpInspectorSchema, {}),
    ...(notHttp.length === 0 ? {} : { filterDisabled: anyPortOf(notHttp) }),
  }),
  "original-dst": (): Init<typeof ListenerFilterSchema> => ({
    name: "envoy.filters.listener.original_dst",
    configType: typedConfig(OriginalDstSchema, {}),
  }),
  "proxy-header": (): Init<typeof ListenerFilterSchema> => ({
    name: "envoy.filters.listener.proxy_protocol",
    configType: typedConfig(ProxyProtocolSchema, {}),
  }),
};

function anyPortOf(ports: readonly number[]): Init<typeof PredicateSchema> {
  const rules = ports.map((start): Init<typeof PredicateSchema> => ({
    rule: { case: "destinationPortRange", value: { start, end: start + 1 } },
  }));
  const [only, ...others] = rules;
  if (only !== undefined && others.length === 0) return only;
  return { rule: { case: "orMatch", value: { rules } } };
}

export interface ChainParts {
  readonly name?: string;
  readonly match?: MatchInit;
  readonly filters: readonly FilterInit[];
  readonly transportSocket?: TransportSocketInit | undefined;
}

export function chain(parts: ChainParts): ChainInit {
  return {
    ...(parts.name === undefined ? {} : { name: parts.name }),
    ...(parts.match === undefined ? {} : { filterChainMatch: parts.match }),
    filters: [...parts.filters],
    ...(parts.transportSocket === undefined ? {} : { transportSocket: parts.transportSocket }),
  };
}

/** What the HTTP inspector calls plain HTTP. */
export const plainHttp: readonly string[] = ["http/1.0", "http/1.1", "h2c"];
