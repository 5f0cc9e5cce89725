/** The RequestRecord of one HTTP stream at a time: the same object is filled again for the next. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel } from "../../net/channel.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import type { HttpRequest } from "./http-request.ts";
import type { MessageHeaders } from "./message-headers.ts";
import { formatFlags } from "./response-flags.ts";

const none: readonly string[] = [];

export class StreamRecord implements RequestRecord {
  readonly kind = "http";
  startMs = 0;
  startMonotonicMs = 0;
  durationMs = 0;
  direction: RequestRecord["direction"] = "unspecified";
  method = "";
  path = "";
  authority = "";
  scheme = "";
  protocol = "HTTP/1.1";
  responseCode = 0;
  flags = 0;
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
  readonly downstreamDirectAddress: SocketAddress;
  downstreamTlsVersion: string;
  requestedServerName: string;
  downstreamPeerUriSans: readonly string[];
  downstreamLocalUriSans: readonly string[];
  downstreamPeerCommonName: string;
  upstreamPeerUriSans: readonly string[] = none;
  upstreamLocalUriSans: readonly string[] = none;
  upstreamMetadata: Readonly<Record<string, Readonly<Record<string, string>>>> | undefined =
    undefined;
  clusterMetadata: Readonly<Record<string, unknown>> | undefined = undefined;
  requestId = "";
  traceId = "";
  spanId = "";
  parentSpanId = "";
  isSampled = false;
  operation = "";
  /** Our answer names the operation. */
  tellsOperation = false;
  grpcStatus: number | undefined = undefined;
  responseTrailers: Http1Head | undefined = undefined;
  readonly #request: HttpRequest;
  readonly #response: MessageHeaders;

  constructor(channel: Channel, request: HttpRequest, response: MessageHeaders) {
    const { tls } = channel;
    this.#request = request;
    this.#response = response;
    const { connection } = request;
    this.downstreamLocalAddress = {
      address: connection.destinationAddress,
      port: connection.destinationPort,
    };
    this.downstreamDirectAddress = {
      address: connection.sourceAddress,
      port: connection.sourcePort,
    };
    this.downstreamRemoteAddress = this.downstreamDirectAddress;
    this.downstreamTlsVersion = tls?.version ?? "";
    this.requestedServerName = tls?.sni ?? connection.sni ?? "";
    this.downstreamPeerUriSans = tls?.peerUriSans ?? none;
    this.downstreamLocalUriSans = tls?.localUriSans ?? none;
    this.downstreamPeerCommonName = tls?.peerCommonName ?? "";
  }

  get responseFlags(): string {
    return formatFlags(this.flags);
  }

  /** A client behind other proxies has an address, but no port that we know. */
  setRemote(address: string): void {
    const direct = this.downstreamDirectAddress;
    if (address === direct.address) this.downstreamRemoteAddress = direct;
    else if (address !== this.downstreamRemoteAddress.address) {
      this.downstreamRemoteAddress = { address, port: 0 };
    }
  }

  /** Forgets the last request; what belongs to the connection stays. */
  reset(startMs: number, startMonotonicMs: number): void {
    this.startMs = startMs;
    this.startMonotonicMs = startMonotonicMs;
    this.durationMs = 0;
    this.downstreamRemoteAddress = this.downstreamDirectAddress;
    this.method = "";
    this.path = "";
    this.authority = "";
    this.protocol = "HTTP/1.1";
    this.responseCode = 0;
    this.flags = 0;
    this.responseCodeDetails = "";
    this.connectionTerminationDetails = "";
    this.upstreamTransportFailureReason = "";
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.routeName = "";
    this.upstreamCluster = "";
    this.upstreamHost = undefined;
    this.upstreamLocalAddress = undefined;
    this.upstreamAttempts = 0;
    this.upstreamServiceTimeMs = undefined;
    this.upstreamPeerUriSans = none;
    this.upstreamLocalUriSans = none;
    this.upstreamMetadata = undefined;
    this.clusterMetadata = undefined;
    this.requestId = "";
    this.traceId = "";
    this.spanId = "";
    this.parentSpanId = "";
    this.isSampled = false;
    this.operation = "";
    this.tellsOperation = false;
    this.grpcStatus = undefined;
    this.responseTrailers = undefined;
  }

  requestHeader(name: string): string | undefined {
    return this.#request.header(name);
  }

  responseHeader(name: string): string | undefined {
    return this.#response.get(name);
  }

  responseTrailer(name: string): string | undefined {
    return this.responseTrailers?.joined(name);
  }
}
