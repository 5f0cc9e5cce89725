/**
 * Istio's `istio.stats` filter: the standard metrics of each request and connection, with labels from
 * node metadata, from the peers' headers, from endpoints and clusters. Names, buckets and the last
 * step of the labels are those of telemetry/standard-metrics.ts.
 */
import type { Labels, MetricRegistry } from "../../telemetry/metrics.ts";
import type { RequestRecord, RequestSink } from "../../telemetry/request-record.ts";
import {
  finishStandardLabels,
  noPeers,
  type PeerLabels,
  standardBuckets,
  unknownPeer,
} from "../../telemetry/standard-metrics.ts";
import { PluginConfig } from "../../wire/gen/ts/envoy/extensions/stats/config.ts";
import { honoured, type Honoured } from "../config/honoured.ts";
import { type NodeMetadata, labelsOf, peerOfEndpoint, serviceOfCluster } from "./peer.ts";
import { streamPeers } from "./peer-filter.ts";

export const statsUrl = "type.googleapis.com/stats.PluginConfig";

/** Overrides of metrics and tags are not known; how often TCP is reported, is our own to say. */
export const honouredIstioStats: Honoured<PluginConfig> = {
  disableHostHeaderFallback: true,
  tcpReportingDuration: true,
};

export interface IstioStatsOptions {
  readonly metrics: MetricRegistry;
  readonly node: NodeMetadata;
  readonly direction: RequestRecord["direction"];
}

/** Throws a refusal. */
export function compileIstioStats(
  bytes: Uint8Array,
  path: string,
  options: IstioStatsOptions,
): RequestSink {
  const config = honoured(PluginConfig.decode(bytes), honouredIstioStats, path);
  return new IstioStats(options, !config.disableHostHeaderFallback);
}

const helps = {
  istio_requests_total: "Requests by their ends and outcome",
  istio_request_duration_milliseconds: "From a request's first byte to its answer's last",
  istio_request_bytes: "Bytes of requests",
  istio_response_bytes: "Bytes of answers",
  istio_request_messages_total: "Messages of gRPC towards servers",
  istio_response_messages_total: "Messages of gRPC towards clients",
  istio_tcp_connections_opened_total: "TCP connections opened",
  istio_tcp_connections_closed_total: "TCP connections closed",
  istio_tcp_received_bytes_total: "Bytes from clients of TCP",
  istio_tcp_sent_bytes_total: "Bytes to clients of TCP",
} as const;

class IstioStats implements RequestSink {
  readonly #options: IstioStatsOptions;
  readonly #own: PeerLabels;
  readonly #usesAuthority: boolean;
  readonly #opened = new WeakSet<RequestRecord>();

  constructor(options: IstioStatsOptions, usesAuthority: boolean) {
    this.#options = options;
    this.#own = labelsOf(options.node);
    this.#usesAuthority = usesAuthority;
  }

  onConnected(record: RequestRecord): void {
    if (this.#opened.has(record)) return;
    this.#opened.add(record);
    this.#add("istio_tcp_connections_opened_total", 1, this.#labels(record));
  }

  onEnd(record: RequestRecord): void {
    const labels = this.#labels(record);
    if (record.kind === "tcp") {
      this.onConnected(record);
      this.#add("istio_tcp_connections_closed_total", 1, labels);
      this.#add("istio_tcp_received_bytes_total", record.bytesReceived, labels);
      this.#add("istio_tcp_sent_bytes_total", record.bytesSent, labels);
      return;
    }
    this.#add("istio_requests_total", 1, labels);
    this.#observe("istio_request_duration_milliseconds", record.durationMs, labels);
    this.#observe("istio_request_bytes", record.bytesReceived, labels);
    this.#observe("istio_response_bytes", record.bytesSent, labels);
    const { requestMessages = 0, responseMessages = 0 } = record;
    if (requestMessages + responseMessages === 0) return;
    this.#add("istio_request_messages_total", requestMessages, labels);
    this.#add("istio_response_messages_total", responseMessages, labels);
  }

  #labels(record: RequestRecord): Labels {
    const isInbound = this.#options.direction === "inbound";
    const peers = streamPeers.get(record);
    const peer = isInbound
      ? peers?.downstream
      : (peers?.upstream ?? peerOfEndpoint(record.upstreamMetadata));
    const tags = {
      reporter: isInbound ? "destination" : "source",
      ...ends("source", isInbound ? peer : this.#own),
      ...ends("destination", isInbound ? this.#own : peer),
      ...principals(record, isInbound),
      ...this.#service(record),
      ...outcome(record),
    };
    const labels = finishStandardLabels(tags, noPeers);
    // The last step knows peers by their certificates alone; here they have told of themselves.
    return isInbound ? { ...labels, ...ends("source", peer) } : labels;
  }

  #service(record: RequestRecord): Labels {
    const service = serviceOfCluster(record.clusterMetadata);
    const fallback = this.#usesAuthority ? record.authority : "";
    return {
      destination_service: service?.host ?? fallback,
      destination_service_name: service?.name ?? fallback,
      destination_service_namespace: service?.namespace ?? "",
    };
  }

  #add(name: keyof typeof helps, amount: number, labels: Labels): void {
    if (amount > 0) this.#options.metrics.counter(name, helps[name], labels).add(amount);
  }

  #observe(name: keyof typeof helps, value: number, labels: Labels): void {
    this.#options.metrics.histogram(name, helps[name], standardBuckets, labels).record(value);
  }
}

function ends(side: "source" | "destination", peer: PeerLabels = unknownPeer): Labels {
  return {
    [`${side}_workload`]: peer.workload,
    [`${side}_workload_namespace`]: peer.namespace,
    [`${side}_app`]: peer.app,
    [`${side}_version`]: peer.version,
    [`${side}_canonical_service`]: peer.canonicalService,
    [`${side}_canonical_revision`]: peer.canonicalRevision,
    [`${side}_cluster`]: peer.cluster,
  };
}

function principals(record: RequestRecord, isInbound: boolean): Labels {
  if (!isInbound) {
    return {
      source_principal: record.upstreamLocalUriSans.join(","),
      destination_principal: record.upstreamPeerUriSans.join(","),
    };
  }
  const { downstreamPeerUriSans: peer, downstreamLocalUriSans: local } = record;
  // Of a connection that came through a tunnel, the tunnel's end has told.
  const told = (key: string): string => record.filterState?.(`io.istio.${key}`) ?? "";
  return {
    source_principal: peer.join(",") || told("peer_principal"),
    destination_principal: local.join(",") || told("local_principal"),
  };
}

function outcome(record: RequestRecord): Labels {
  if (record.kind === "tcp") {
    return { request_protocol: "tcp", response_flags: record.responseFlags };
  }
  return {
    request_protocol: record.protocol,
    response_code: String(record.responseCode),
    grpc_response_status: record.grpcStatus === undefined ? "" : String(record.grpcStatus),
    response_flags: record.responseFlags,
  };
}
