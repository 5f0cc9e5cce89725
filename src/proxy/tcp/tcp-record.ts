/** What happened to one TCP connection, for access logs and metrics. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel } from "../../net/channel.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { ConnectionView } from "../engine/request.ts";

const none: readonly string[] = [];

export class TcpRecord implements RequestRecord {
  readonly kind = "tcp";
  startMs = 0;
  startMonotonicMs = 0;
  durationMs = 0;
  direction: RequestRecord["direction"];
  method = "";
  path = "";
  authority = "";
  scheme = "";
  protocol = "";
  responseCode = 0;
  responseFlags = "";
  responseCodeDetails = "";
  connectionTerminationDetails = "";
  upstreamTransportFailureReason = "";
  bytesReceived = 0;
  bytesSent = 0;
  routeName = "";
  upstreamCluster = "";
  upstreamHost: SocketAddress | undefined = undefined;
  upstreamLocalAddress: SocketAddress | undefined = undefined;
  upstreamAttempts = 0;
  upstreamServiceTimeMs: number | undefined = undefined;
  downstreamLocalAddress: SocketAddress;
  downstreamRemoteAddress: SocketAddress;
  downstreamTlsVersion: string;
  requestedServerName: string;
  downstreamPeerUriSans: readonly string[];
  downstreamLocalUriSans: readonly string[];
  downstreamPeerCommonName: string;
  upstreamPeerUriSans: readonly string[] = none;
  upstreamLocalUriSans: readonly string[] = none;
  upstreamMetadata: RequestRecord["upstreamMetadata"] = undefined;
  clusterMetadata: RequestRecord["clusterMetadata"] = undefined;
  requestId = "";
  traceId = "";
  spanId = "";
  parentSpanId = "";
  isSampled = false;
  grpcStatus: number | undefined = undefined;

  constructor(channel: Channel, connection: ConnectionView, direction: RequestRecord["direction"]) {
    const { tls } = channel;
    this.direction = direction;
    this.downstreamLocalAddress = {
      address: connection.destinationAddress,
      port: connection.destinationPort,
    };
    this.downstreamRemoteAddress = {
      address: connection.sourceAddress,
      port: connection.sourcePort,
    };
    this.downstreamTlsVersion = tls?.version ?? "";
    this.requestedServerName = tls?.sni ?? connection.sni ?? "";
    this.downstreamPeerUriSans = tls?.peerUriSans ?? none;
    this.downstreamLocalUriSans = tls?.localUriSans ?? none;
    this.downstreamPeerCommonName = tls?.peerCommonName ?? "";
  }

  requestHeader(): undefined {}

  responseHeader(): undefined {}

  responseTrailer(): undefined {}
}
