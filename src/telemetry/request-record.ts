import type { SocketAddress } from "../base/socket-address.ts";
import type { RequestTimes } from "./request-times.ts";

export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** Names in a certificate of our own, beside its URIs. */
export interface OwnNames {
  readonly subject: string;
  readonly dnsSans: readonly string[];
  readonly emailSans: readonly string[];
  readonly ipSans: readonly string[];
}

/** What configuration says of the filter chain that took a connection. */
export interface FilterChainFacts {
  readonly name: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** What logs tell of a connection's TLS, beyond what the record holds itself. */
export interface TlsDetails {
  readonly version: string;
  readonly cipher: string;
  readonly peerCertificateDer: Uint8Array | undefined;
  /** Absent where we have shown no certificate. */
  readonly ownNames?: OwnNames | undefined;
}

/** What filters have found out about a request, as JSON: namespace → key → value. */
export type DynamicMetadata = ReadonlyMap<string, Readonly<Record<string, unknown>>>;

/** Entries of logs that are not about the end of what they tell of; `NotSet` are listeners'. */
export type EntryType =
  | "TcpUpstreamConnected"
  | "UdpPeriodic"
  | "DownstreamStart"
  | "DownstreamPeriodic"
  | "DownstreamTunnelSuccessfullyEstablished"
  | "NotSet";

/**
 * What happened to one request, TCP connection or session of UDP: filled in by the data plane while it
 * happens, read once at the end by access logs, metrics and spans. One object per stream; fields
 * are written in place, so nothing else is allocated for reporting.
 */
export interface RequestRecord {
  readonly kind: "http" | "tcp" | "udp";
  /** Of the log entry being written, in Envoy's words; absent at the end. */
  entryType?: EntryType | undefined;
  startMs: number;
  /** Monotonic, with fractions; `durationMs` is set when the stream has ended. */
  startMonotonicMs: number;
  durationMs: number;
  /** `inbound`: we are the destination's proxy (reporter=destination); `outbound`: the source's. */
  direction: "inbound" | "outbound" | "unspecified";
  method: string;
  /** As received, before rewrites (`x-envoy-original-path` wins in Istio's format). */
  path: string;
  authority: string;
  scheme: string;
  protocol: string;
  responseCode: number;
  /** Envoy's flags, joined: `UH`, `UF,URX`; empty means none. */
  responseFlags: string;
  /** `via_upstream`, `route_not_found`, `rbac_access_denied_matched_policy[…]`. */
  responseCodeDetails: string;
  connectionTerminationDetails: string;
  upstreamTransportFailureReason: string;
  /** Absent where handshakes that fail leave no record. */
  downstreamTransportFailureReason?: string;
  bytesReceived: number;
  bytesSent: number;
  routeName: string;
  upstreamCluster: string;
  upstreamHost: SocketAddress | undefined;
  upstreamLocalAddress: SocketAddress | undefined;
  /** Of the connection; absent where it is that of the endpoint. */
  upstreamRemoteAddress?: SocketAddress | undefined;
  /** The endpoint's name; empty or absent where it has only its address. */
  upstreamHostName?: string;
  /** `HTTP/1.1` or `HTTP/2`; empty or absent where no request was sent. */
  upstreamProtocol?: string;
  /** Numbers of the two connections, unique in this process. */
  readonly connectionId?: number;
  upstreamConnectionId?: number | undefined;
  upstreamAttempts: number;
  /** From the first upstream byte written to the first byte of its answer; undefined without one. */
  upstreamServiceTimeMs: number | undefined;
  downstreamLocalAddress: SocketAddress;
  /** The client's, as far as trusted proxies vouch for it. */
  downstreamRemoteAddress: SocketAddress;
  /** The other end of the connection; absent where that is the client. */
  downstreamDirectAddress?: SocketAddress;
  /** Where the connection was accepted, whatever its destination was before capture. */
  readonly downstreamDirectLocalAddress?: SocketAddress;
  downstreamTlsVersion: string;
  readonly downstreamTls?: TlsDetails | undefined;
  upstreamTls?: TlsDetails | undefined;
  requestedServerName: string;
  /** URI SANs of the verified downstream peer, and ours on that connection. */
  downstreamPeerUriSans: readonly string[];
  downstreamLocalUriSans: readonly string[];
  downstreamPeerCommonName: string;
  /** The whole subject, in RFC 2253's form; empty or absent without a certificate. */
  readonly downstreamPeerSubject?: string;
  upstreamPeerUriSans: readonly string[];
  upstreamLocalUriSans: readonly string[];
  /** Endpoint metadata of the upstream chosen: filter name → key → value (`heddle.workload`). */
  upstreamMetadata: Readonly<Record<string, Readonly<Record<string, string>>>> | undefined;
  clusterMetadata: Readonly<Record<string, unknown>> | undefined;
  routeMetadata?: Readonly<Record<string, unknown>> | undefined;
  virtualHostMetadata?: Readonly<Record<string, unknown>> | undefined;
  /** Absent where no chain has taken the connection. */
  readonly filterChain?: FilterChainFacts | undefined;
  readonly listenerMetadata?: Readonly<Record<string, unknown>> | undefined;
  /** Absent where no filter has said anything. */
  readonly dynamicMetadata?: DynamicMetadata | undefined;
  requestId: string;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  isSampled: boolean;
  /** What the route calls the operation; empty or absent: it has no name of its own. */
  operation?: string;
  grpcStatus: number | undefined;
  /** When what happened; absent for connections of TCP. */
  readonly times?: RequestTimes;
  /** Messages of gRPC that have begun to pass; absent where nobody counts them. */
  readonly requestMessages?: number;
  readonly responseMessages?: number;
  /** A text that filters have set for those behind them. */
  filterState?(key: string): string | undefined;
  /** The same as JSON; also of what has no text. */
  filterStateJson?(key: string): JsonValue | undefined;
  /** Bytes of all names and values of a head or of trailers, as it stands when it is asked. */
  headBytes?(which: "request" | "response" | "trailers"): number;
  /** Looks a header up by lower-case name; undefined when absent. */
  requestHeader(name: string): string | undefined;
  responseHeader(name: string): string | undefined;
  responseTrailer(name: string): string | undefined;
}

/** Told once per finished stream; must not throw and must not keep the record after `onEnd`. */
export interface RequestSink {
  onEnd(record: RequestRecord): void;
  /** HTTP only: of a request that goes on, where its connection manager asks for such entries. */
  onMoment?(record: RequestRecord, moment: EntryType): void;
  /** TCP only: the upstream connection stands and, with TLS, the peer is known. */
  onConnected?(record: RequestRecord): void;
  /** TCP only, about every 5 s, also where nothing has come since: `bytesReceived` and `bytesSent` so far. */
  onProgress?(record: RequestRecord): void;
  /** UDP only, now and then and before `onEnd`: numbers of the record are what was added since the last time. */
  onDatagrams?(record: RequestRecord): void;
}
