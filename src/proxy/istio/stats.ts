/**
 * Istio's `istio.stats` filter: the standard metrics of each request and connection, with labels from
 * node metadata, from the peers' headers, from endpoints and clusters. Names, buckets and the last
 * step of the labels are those of telemetry/standard-metrics.ts.
 */
import type { Clock } from "../../base/clock.ts";
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
import { durationMs } from "../engine/duration.ts";
import { compileMetricOverrides, type MetricOverrides } from "./metric-overrides.ts";
import { type NodeMetadata, labelsOf, peerOfEndpoint, serviceOfCluster } from "./peer.ts";
import { streamPeers } from "./peer-filter.ts";

export const statsUrl = "type.googleapis.com/stats.PluginConfig";

/** Metrics of the configuration's own (`definitions`) and waypoints' reporter are not known. */
export const honouredIstioStats: Honoured<PluginConfig> = {
  disableHostHeaderFallback: true,
  // Of connections, no more often than every five seconds; what gRPC calls carry is told at their end.
  tcpReportingDuration: true,
  metrics: { name: true, dimensions: true, tagsToRemove: true, drop: true },
  // Series end by themselves when nothing has counted for a while, each for itself.
  rotationInterval: true,
  // Nothing is rotated, so nothing is left to be deleted.
  gracefulDeletionInterval: true,
};

export interface IstioStatsOptions {
  readonly clock: Clock;
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
  const names = Object.keys(helps);
  const at = path === "" ? "metrics" : `${path}.metrics`;
  return new IstioStats(options, {
    usesAuthority: !config.disableHostHeaderFallback,
    reportingMs: durationMs(config.tcpReportingDuration) ?? reportingMsDefault,
    overrides:
      config.metrics.length === 0 ? undefined : compileMetricOverrides(config.metrics, names, at),
  });
}

/** Envoy's. */
const reportingMsDefault = 5_000;
/** Timers may be early by a moment: what is due then would wait for the next one. */
const earlyMs = 500;

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

interface StatsSettings {
  /** Whether a request's host stands for a service that is not known. */
  readonly usesAuthority: boolean;
  /** Between reports of a connection that lives on; 0: it is told at its end alone. */
  readonly reportingMs: number;
  readonly overrides: MetricOverrides | undefined;
}

/** What has been told of a connection. */
interface Told {
  bytesReceived: number;
  bytesSent: number;
  atMs: number;
}

type Name = keyof typeof helps;

/** The labels of each metric for one record; undefined: it is not counted. */
type LabelsOf = (name: Name) => Labels | undefined;

class IstioStats implements RequestSink {
  readonly #options: IstioStatsOptions;
  readonly #own: PeerLabels;
  readonly #settings: StatsSettings;
  readonly #told = new WeakMap<RequestRecord, Told>();

  constructor(options: IstioStatsOptions, settings: StatsSettings) {
    this.#options = options;
    this.#own = labelsOf(options.node);
    this.#settings = settings;
  }

  onConnected(record: RequestRecord): void {
    this.#open(record, () => this.#labelsOf(record));
  }

  onProgress(record: RequestRecord): void {
    const { reportingMs } = this.#settings;
    const { bytesReceived, bytesSent } = record;
    if (reportingMs === 0 || bytesReceived + bytesSent === 0) return;
    const told = this.#open(record, () => this.#labelsOf(record));
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - told.atMs < reportingMs - earlyMs) return;
    if (bytesReceived + bytesSent === told.bytesReceived + told.bytesSent) return;
    told.atMs = nowMs;
    this.#addBytes(record, told, this.#labelsOf(record));
  }

  onEnd(record: RequestRecord): void {
    const labels = this.#labelsOf(record);
    if (record.kind === "tcp") {
      const told = this.#open(record, () => labels);
      this.#add("istio_tcp_connections_closed_total", 1, labels);
      this.#addBytes(record, told, labels);
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

  /** Counts a connection once. */
  #open(record: RequestRecord, labels: () => LabelsOf): Told {
    const known = this.#told.get(record);
    if (known !== undefined) return known;
    const told = { bytesReceived: 0, bytesSent: 0, atMs: record.startMonotonicMs };
    this.#told.set(record, told);
    this.#add("istio_tcp_connections_opened_total", 1, labels());
    return told;
  }

  #addBytes(record: RequestRecord, told: Told, labels: LabelsOf): void {
    const { bytesReceived, bytesSent } = record;
    this.#add("istio_tcp_received_bytes_total", bytesReceived - told.bytesReceived, labels);
    this.#add("istio_tcp_sent_bytes_total", bytesSent - told.bytesSent, labels);
    told.bytesReceived = bytesReceived;
    told.bytesSent = bytesSent;
  }

  #labelsOf(record: RequestRecord): LabelsOf {
    const labels = this.#labels(record);
    const { overrides } = this.#settings;
    if (overrides === undefined) return () => labels;
    const values = overrides.evaluate(record);
    return (name) => overrides.apply(name, labels, values);
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
    const fallback = this.#settings.usesAuthority ? record.authority : "";
    return {
      destination_service: service?.host ?? fallback,
      destination_service_name: service?.name ?? fallback,
      destination_service_namespace: service?.namespace ?? "",
    };
  }

  #add(name: Name, amount: number, labelsFor: LabelsOf): void {
    if (amount <= 0) return;
    const labels = labelsFor(name);
    if (labels !== undefined) this.#options.metrics.counter(name, helps[name], labels).add(amount);
  }

  #observe(name: Name, value: number, labelsFor: LabelsOf): void {
    const labels = labelsFor(name);
    if (labels === undefined) return;
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
