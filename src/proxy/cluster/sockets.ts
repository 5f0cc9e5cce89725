/**
 * How connections to the endpoints of a cluster are made (`transport_socket`, `transport_socket_matches`).
 * Throws a refusal for what cannot be honoured.
 */
import type { Cluster } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import type { TransportSocket } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { InternalUpstreamTransport } from "../../wire/gen/ts/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream.ts";
import { ProxyProtocolUpstreamTransport } from "../../wire/gen/ts/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.ts";
import { UpstreamTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { honouredInternalUpstream, honouredProxyUpstream } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import { withFileSecrets } from "../config/tls-files.ts";
import { refuse } from "../engine/refusal.ts";
import { compileProxyHeader, type ProxyHeaderPlan } from "./proxy-header.ts";

/** Taken in order: the first whose criteria the endpoint's metadata meets. */
export interface SocketChoice {
  readonly criteria: { readonly [key: string]: unknown };
  /** Undefined means plaintext. */
  readonly tls: UpstreamTlsContext | undefined;
  /** Of connections to a listener of this proxy: what it is told; undefined: nothing. */
  readonly passes: readonly PassedMetadata[] | undefined;
  /** Connections begin with a PROXY header. */
  readonly header: ProxyHeaderPlan | undefined;
}

/** Metadata by its namespace. */
export interface PassedMetadata {
  readonly of: "endpoint" | "cluster";
  readonly name: string;
}

type Socket = Omit<SocketChoice, "criteria">;

export function compileSockets(cluster: Cluster): readonly SocketChoice[] {
  const matches = cluster.transportSocketMatches.map(({ match, transportSocket }, i) => ({
    criteria: match ?? {},
    ...compileSocket(transportSocket, `transport_socket_matches[${i}].transport_socket`),
  }));
  return [
    ...matches,
    { criteria: {}, ...compileSocket(cluster.transportSocket, "transport_socket") },
  ];
}

const extensions = "type.googleapis.com/envoy.extensions.transport_sockets";
const tlsUrl = `${extensions}.tls.v3.UpstreamTlsContext`;
const internalUrl = `${extensions}.internal_upstream.v3.InternalUpstreamTransport`;
const headerUrl = `${extensions}.proxy_protocol.v3.ProxyProtocolUpstreamTransport`;
const plainUrl = `${extensions}.raw_buffer.v3.RawBuffer`;

const plaintext: Socket = { tls: undefined, passes: undefined, header: undefined };

function compileSocket(socket: TransportSocket | undefined, path: string): Socket {
  const typeUrl = socket?.typedConfig?.typeUrl;
  if (socket === undefined || typeUrl === plainUrl) return plaintext;
  if (typeUrl === undefined && socket.name === "envoy.transport_sockets.raw_buffer") {
    return plaintext;
  }
  const bytes = socket.typedConfig?.value ?? new Uint8Array(0);
  const place = `${path}.typed_config`;
  if (typeUrl === tlsUrl)
    return { ...plaintext, tls: withFileSecrets(UpstreamTlsContext.decode(bytes)) };
  if (typeUrl === internalUrl) return compileInternal(bytes, place);
  if (typeUrl === headerUrl) return compileHeader(bytes, place);
  return refuse(place, `'${typeUrl ?? socket.name}' is not supported`);
}

/** What connections to a listener of this proxy tell of themselves; the socket inside is theirs. */
function compileInternal(bytes: Uint8Array, path: string): Socket {
  const decoded = InternalUpstreamTransport.decode(bytes);
  const config = honoured(decoded, honouredInternalUpstream, path);
  const inner = compileInner(config.transportSocket, path);
  const passes = config.passthroughMetadata.map(({ kind, name }, i): PassedMetadata => {
    const place = `${path}.passthrough_metadata[${i}]`;
    if (name === "") refuse(`${place}.name`, "is required");
    if (kind?.host !== undefined) return { of: "endpoint", name };
    if (kind?.cluster !== undefined) return { of: "cluster", name };
    return refuse(`${place}.kind`, "is not supported: there are host and cluster");
  });
  return { ...inner, passes };
}

function compileHeader(bytes: Uint8Array, path: string): Socket {
  const decoded = ProxyProtocolUpstreamTransport.decode(bytes);
  const config = honoured(decoded, honouredProxyUpstream, path);
  if (config.transportSocket === undefined) refuse(`${path}.transport_socket`, "is required");
  const inner = compileInner(config.transportSocket, path);
  const header = compileProxyHeader(config.config, `${path}.config`);
  return { ...inner, header };
}

function compileInner(socket: TransportSocket | undefined, path: string): Socket {
  const inner = compileSocket(socket, `${path}.transport_socket`);
  if (inner.passes !== undefined || inner.header !== undefined) {
    refuse(`${path}.transport_socket`, "is not supported: there are TLS and plaintext");
  }
  return inner;
}
