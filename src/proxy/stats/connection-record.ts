/**
 * What requests and TCP connections have in common in their RequestRecord: empty fields, and what
 * follows from the connection with the client.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel } from "../../net/channel.ts";
import type { RequestRecord, TlsDetails } from "../../telemetry/request-record.ts";
import { decodeCertificateNames } from "../../wire/certificate-names.ts";
import type { ConnectionView } from "../engine/request.ts";

const none: readonly string[] = [];

let lastConnectionId = 0;

/** Of connections of either side, so that a number names one connection. */
export function newConnectionId(): number {
  return ++lastConnectionId;
}

export class ConnectionRecord {
  startMs = 0;
  startMonotonicMs = 0;
  durationMs = 0;
  direction: RequestRecord["direction"] = "unspecified";
  method = "";
  path = "";
  authority = "";
  scheme = "";
  protocol = "";
  responseCode = 0;
  responseCodeDetails = "";
  connectionTerminationDetails = "";
  upstreamTransportFailureReason = "";
  bytesReceived = 0;
  bytesSent = 0;
  routeName = "";
  upstreamCluster = "";
  upstreamHost: SocketAddress | undefined = undefined;
  upstreamLocalAddress: SocketAddress | undefined = undefined;
  upstreamRemoteAddress: SocketAddress | undefined = undefined;
  upstreamHostName = "";
  upstreamProtocol = "";
  upstreamConnectionId: number | undefined = undefined;
  upstreamTls: TlsDetails | undefined = undefined;
  upstreamAttempts = 0;
  upstreamServiceTimeMs: number | undefined = undefined;
  virtualHostMetadata: RequestRecord["virtualHostMetadata"] = undefined;
  readonly filterChain: RequestRecord["filterChain"];
  readonly listenerMetadata: RequestRecord["listenerMetadata"];
  readonly connectionId: number = newConnectionId();
  readonly downstreamDirectLocalAddress: SocketAddress;
  readonly downstreamLocalAddress: SocketAddress;
  readonly downstreamDirectAddress: SocketAddress;
  /** As a PROXY header says. */
  readonly downstreamSourceAddress: SocketAddress;
  downstreamRemoteAddress: SocketAddress;
  readonly downstreamTlsVersion: string;
  readonly requestedServerName: string;
  readonly downstreamPeerUriSans: readonly string[];
  readonly downstreamLocalUriSans: readonly string[];
  readonly downstreamPeerCommonName: string;
  upstreamPeerUriSans: readonly string[] = none;
  upstreamLocalUriSans: readonly string[] = none;
  upstreamMetadata: RequestRecord["upstreamMetadata"] = undefined;
  clusterMetadata: RequestRecord["clusterMetadata"] = undefined;
  routeMetadata: RequestRecord["routeMetadata"] = undefined;
  requestId = "";
  parentSpanId = "";
  isSampled = false;
  operation = "";
  grpcStatus: number | undefined = undefined;
  readonly #channel: Pick<Channel, "tls">;
  #peerSubject: string | undefined = undefined;
  #traceId = "";
  #spanId = "";
  /** Holds both ids until somebody asks for one. */
  #traceparent = "";

  constructor(channel: Pick<Channel, "local" | "tls">, connection: ConnectionView) {
    const { tls } = channel;
    this.#channel = channel;
    this.filterChain = connection.filterChain;
    this.listenerMetadata = connection.listenerMetadata;
    this.downstreamDirectLocalAddress = channel.local;
    this.downstreamLocalAddress = {
      address: connection.destinationAddress,
      port: connection.destinationPort,
    };
    this.downstreamSourceAddress = {
      address: connection.sourceAddress,
      port: connection.sourcePort,
    };
    this.downstreamDirectAddress = connection.direct ?? this.downstreamSourceAddress;
    this.downstreamRemoteAddress = this.downstreamSourceAddress;
    this.downstreamTlsVersion = tls?.version ?? "";
    this.requestedServerName = tls?.sni ?? connection.sni ?? "";
    this.downstreamPeerUriSans = tls?.peerUriSans ?? none;
    this.downstreamLocalUriSans = tls?.localUriSans ?? none;
    this.downstreamPeerCommonName = tls?.peerCommonName ?? "";
  }

  get downstreamTls(): TlsDetails | undefined {
    return this.#channel.tls;
  }

  /** `00-<trace id>-<span id>-<flags>`: mostly nobody asks for the ids, so none is cut out yet. */
  beginTrace(traceparent: string): void {
    this.#traceparent = traceparent;
    this.parentSpanId = "";
  }

  get traceId(): string {
    this.#cutIds();
    return this.#traceId;
  }

  set traceId(id: string) {
    this.#cutIds();
    this.#traceId = id;
  }

  get spanId(): string {
    this.#cutIds();
    return this.#spanId;
  }

  set spanId(id: string) {
    this.#cutIds();
    this.#spanId = id;
  }

  #cutIds(): void {
    const whole = this.#traceparent;
    if (whole === "") return;
    this.#traceparent = "";
    this.#traceId = whole.slice(3, 35);
    this.#spanId = whole.slice(36, 52);
  }

  /** Read from the certificate when a log first asks for it. */
  get downstreamPeerSubject(): string {
    const der = this.#channel.tls?.peerCertificateDer;
    this.#peerSubject ??= der === undefined ? "" : (decodeCertificateNames(der)?.subject ?? "");
    return this.#peerSubject;
  }

  /** Forgets what happened; what belongs to the connection stays. */
  protected clear(): void {
    this.durationMs = 0;
    this.downstreamRemoteAddress = this.downstreamSourceAddress;
    this.method = "";
    this.path = "";
    this.authority = "";
    this.responseCode = 0;
    this.responseCodeDetails = "";
    this.connectionTerminationDetails = "";
    this.upstreamTransportFailureReason = "";
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.routeName = "";
    this.upstreamCluster = "";
    this.upstreamHost = undefined;
    this.upstreamLocalAddress = undefined;
    this.upstreamRemoteAddress = undefined;
    this.upstreamHostName = "";
    this.upstreamProtocol = "";
    this.upstreamConnectionId = undefined;
    this.upstreamTls = undefined;
    this.upstreamAttempts = 0;
    this.upstreamServiceTimeMs = undefined;
    this.upstreamPeerUriSans = none;
    this.upstreamLocalUriSans = none;
    this.upstreamMetadata = undefined;
    this.clusterMetadata = undefined;
    this.routeMetadata = undefined;
    this.virtualHostMetadata = undefined;
    this.requestId = "";
    this.#traceparent = "";
    this.#traceId = "";
    this.#spanId = "";
    this.parentSpanId = "";
    this.isSampled = false;
    this.operation = "";
    this.grpcStatus = undefined;
  }
}
