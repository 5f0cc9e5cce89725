/**
 * Istio's standard metrics, as loggers that any data plane with Envoy's statistics logger can run,
 * and the last step that turns what such a logger counted into Istio's labels. Both data planes get
 * the same loggers and go through the same last step, so they cannot disagree on a label.
 *
 * It does not count: Envoy counts for itself, `proxy/stats` counts for Heddle's proxy. Why it is
 * made this way is in docs/decisions/0003-standard-metrics.md.
 */
import type { Labels } from "./metrics.ts";

/** What is known about one end of a connection; every field is a label value, never empty. */
export interface PeerLabels {
  readonly workload: string;
  readonly namespace: string;
  readonly app: string;
  readonly version: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
  readonly cluster: string;
}

export type Reporter = "source" | "destination";

/** One `envoy.access_loggers.stats` entry of an access log, free of any wire format. */
export interface StatsLogger {
  readonly filter: StatsLoggerFilter;
  readonly counters: readonly StandardCounter[];
  readonly histograms: readonly StandardHistogram[];
}

/** All parts that are present must hold; no part means every entry is counted. */
export interface StatsLoggerFilter {
  /** `log_type_filter`, names of envoy.data.accesslog.v3.AccessLogType. */
  readonly logTypes?: readonly string[];
  /** `response_flag_filter`. */
  readonly responseFlags?: readonly string[];
  /** `header_filter` on a request header that starts so. */
  readonly headerPrefix?: { readonly name: string; readonly prefix: string };
}

export interface StandardCounter {
  readonly name: string;
  readonly tags: readonly StandardTag[];
  /** `value_fixed: 1`, or `value_format` with exactly one operator. */
  readonly value: 1 | string;
}

export interface StandardHistogram {
  readonly name: string;
  readonly tags: readonly StandardTag[];
  readonly unit: "Milliseconds" | "Bytes";
  readonly valueFormat: string;
}

export interface StandardTag {
  readonly name: string;
  readonly format: string;
}

/** `stats_scope.prefix` of every standard logger; the series leave Envoy as `envoy_<prefix>_<name>`. */
export const statsScopePrefix = "heddle";

/** Bounds of one logger's scope in Envoy; what is idle for an eviction interval makes room. */
export const statsScopeLimits = { maxCounters: 4000, maxHistograms: 2000 } as const;

/** Every name that leaves a proxy: series of these may be forgotten when nothing counts any more. */
export const standardMetricNames: ReadonlySet<string> = new Set([
  "istio_requests_total",
  "istio_request_duration_milliseconds",
  "istio_request_bytes",
  "istio_response_bytes",
  "istio_request_messages_total",
  "istio_response_messages_total",
  "istio_tcp_connections_opened_total",
  "istio_tcp_connections_closed_total",
  "istio_tcp_received_bytes_total",
  "istio_tcp_sent_bytes_total",
  "heddle_udp_sessions_total",
  "heddle_udp_received_datagrams_total",
  "heddle_udp_sent_datagrams_total",
  "heddle_udp_received_bytes_total",
  "heddle_udp_sent_bytes_total",
]);

/** Of what Istio has no metric for; labels and last step are the same. */
export const udpMetricPrefix = "heddle_udp_";

/** Upper bounds of every histogram, Istio's and Envoy's default; milliseconds or bytes. */
export const standardBuckets: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000,
  1_800_000, 3_600_000,
];

/** Tag that carries the certificate subject of the downstream peer until the peer's labels replace it. */
export const peerSubjectTag = "heddle_peer";
/** Tag that carries `requests,responses` of gRPC messages until the two message counters replace it. */
export const grpcMessagesTag = "heddle_messages";
/** Counter that exists only between a data plane and the last step. */
export const grpcMessagesCounter = "istio_grpc_messages_total";

/** Flags of TCP connections that end without having reached an upstream. */
const unconnectedFlags = ["UF", "UH", "UO", "NC", "NR"] as const;

/** Loggers for an HTTP connection manager of the workload described by `own`. */
export function standardHttpLoggers(reporter: Reporter, own: PeerLabels): StatsLogger[] {
  const tags: readonly StandardTag[] = [
    ...peerTags(reporter, own),
    { name: "request_protocol", format: "%PROTOCOL%" },
    { name: "response_code", format: "%RESPONSE_CODE%" },
    { name: "grpc_response_status", format: "%GRPC_STATUS_NUMBER%" },
    { name: "response_flags", format: "%RESPONSE_FLAGS%" },
  ];
  const histogram = (
    name: string,
    unit: StandardHistogram["unit"],
    valueFormat: string,
  ): StandardHistogram => ({ name, tags, unit, valueFormat });
  const messageTags = [
    ...tags,
    { name: grpcMessagesTag, format: "%FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)%" },
  ];
  return [
    {
      filter: { logTypes: ["DownstreamEnd"] },
      counters: [{ name: "istio_requests_total", tags, value: 1 }],
      histograms: [
        histogram("istio_request_duration_milliseconds", "Milliseconds", "%DURATION%"),
        histogram("istio_request_bytes", "Bytes", "%BYTES_RECEIVED%"),
        histogram("istio_response_bytes", "Bytes", "%BYTES_SENT%"),
      ],
    },
    {
      filter: {
        logTypes: ["DownstreamEnd"],
        headerPrefix: { name: "content-type", prefix: "application/grpc" },
      },
      counters: [{ name: grpcMessagesCounter, tags: messageTags, value: 1 }],
      histograms: [],
    },
  ];
}

/** Loggers for a TCP proxy of the workload described by `own`. */
export function standardTcpLoggers(reporter: Reporter, own: PeerLabels): StatsLogger[] {
  const tags: readonly StandardTag[] = [
    ...peerTags(reporter, own),
    { name: "request_protocol", format: "tcp" },
    { name: "response_flags", format: "%RESPONSE_FLAGS%" },
  ];
  const opened = { name: "istio_tcp_connections_opened_total", tags, value: 1 } as const;
  return [
    { filter: { logTypes: ["TcpUpstreamConnected"] }, counters: [opened], histograms: [] },
    // A connection that never reached an upstream was opened all the same.
    {
      filter: { logTypes: ["TcpConnectionEnd"], responseFlags: unconnectedFlags },
      counters: [opened],
      histograms: [],
    },
    {
      filter: { logTypes: ["TcpConnectionEnd"] },
      counters: [
        { name: "istio_tcp_connections_closed_total", tags, value: 1 },
        { name: "istio_tcp_received_bytes_total", tags, value: "%BYTES_RECEIVED%" },
        { name: "istio_tcp_sent_bytes_total", tags, value: "%BYTES_SENT%" },
      ],
      histograms: [],
    },
  ];
}

/** Loggers for sessions of UDP that leave the workload described by `own`; Envoy's names for what they ask. */
export function udpLoggers(own: PeerLabels): StatsLogger[] {
  const tags: readonly StandardTag[] = [
    ...peerTags("source", own),
    { name: "request_protocol", format: "udp" },
    { name: "response_flags", format: "%RESPONSE_FLAGS%" },
  ];
  const session = (key: string): string => `%DYNAMIC_METADATA(udp.proxy.session:${key})%`;
  const growing = ["datagrams", "bytes"].flatMap((what) =>
    ["received", "sent"].map((way) => ({
      name: `${udpMetricPrefix}${way}_${what}_total`,
      tags,
      value: session(`${what}_${way}`),
    })),
  );
  return [
    { filter: { logTypes: ["UdpPeriodic"] }, counters: growing, histograms: [] },
    {
      filter: { logTypes: ["UdpSessionEnd"] },
      counters: [{ name: `${udpMetricPrefix}sessions_total`, tags, value: 1 }],
      histograms: [],
    },
  ];
}

function peerTags(reporter: Reporter, own: PeerLabels): StandardTag[] {
  const service = [
    { name: "destination_service", format: "%CLUSTER_METADATA(heddle:service)%" },
    { name: "destination_service_name", format: "%CLUSTER_METADATA(heddle:service_name)%" },
    {
      name: "destination_service_namespace",
      format: "%CLUSTER_METADATA(heddle:service_namespace)%",
    },
  ];
  if (reporter === "source") {
    return [
      { name: "reporter", format: "source" },
      ...ends("source", (key) => own[key]),
      { name: "source_principal", format: "%UPSTREAM_LOCAL_URI_SAN%" },
      ...ends("destination", (key) => `%UPSTREAM_METADATA(heddle:${metadataKeys[key]})%`),
      { name: "destination_principal", format: "%UPSTREAM_PEER_URI_SAN%" },
      ...service,
    ];
  }
  return [
    { name: "reporter", format: "destination" },
    { name: peerSubjectTag, format: "%DOWNSTREAM_PEER_SUBJECT%" },
    { name: "source_principal", format: "%DOWNSTREAM_PEER_URI_SAN%" },
    ...ends("destination", (key) => own[key]),
    { name: "destination_principal", format: "%DOWNSTREAM_LOCAL_URI_SAN%" },
    ...service,
  ];
}

/** Keys below `heddle` in an endpoint's metadata, and of one row of the peer table. */
export const metadataKeys: { readonly [Key in keyof PeerLabels]: string } = {
  workload: "workload",
  namespace: "namespace",
  app: "app",
  version: "version",
  canonicalService: "canonical_service",
  canonicalRevision: "canonical_revision",
  cluster: "cluster",
};

const labelSuffixes: readonly (readonly [keyof PeerLabels, string])[] = [
  ["workload", "workload"],
  ["namespace", "workload_namespace"],
  ["app", "app"],
  ["version", "version"],
  ["canonicalService", "canonical_service"],
  ["canonicalRevision", "canonical_revision"],
  ["cluster", "cluster"],
];

function ends(
  side: "source" | "destination",
  formatOf: (key: keyof PeerLabels) => string,
): StandardTag[] {
  return labelSuffixes.map(([key, suffix]) => ({
    name: `${side}_${suffix}`,
    format: formatOf(key) || unknown,
  }));
}

const unknown = "unknown";

/** Labels of a peer nobody knows. */
export const unknownPeer: PeerLabels = {
  workload: unknown,
  namespace: unknown,
  app: unknown,
  version: unknown,
  canonicalService: unknown,
  canonicalRevision: unknown,
  cluster: unknown,
};

/** Finds the labels of the workload instance that a certificate's subject names. */
export interface PeerDirectory {
  /** `instance` is `<instance>.<namespace>`, the subject's common name. */
  resolve(instance: string): PeerLabels | undefined;
  /** Changes whenever an answer may have changed. */
  readonly revision: number;
  /** Tells what there is now, and whatever changes until it is stopped: for a copy elsewhere. */
  follow?(onChange: (change: PeerChange) => void): () => void;
}

export interface PeerChange {
  readonly rows: ReadonlyMap<string, PeerLabels>;
  /** Not to be resolved any more. */
  readonly forgotten: readonly string[];
}

/** Knows nobody: for a proxy without a control plane that tells, and for tests. */
export const noPeers: PeerDirectory = { resolve: () => undefined, revision: 0 };

/**
 * The labels that leave the proxy, from the tags a logger filled in: absent values get Istio's
 * words for them, the peer's subject becomes its labels, and what follows from other labels is added.
 */
export function finishStandardLabels(tags: Labels, peers: PeerDirectory): Labels {
  const labels: Record<string, string> = {};
  for (const [name, value] of Object.entries(tags)) {
    if (name === peerSubjectTag || name === grpcMessagesTag) continue;
    labels[name] = fallbackFor(name, value);
  }
  if (tags["reporter"] === "destination") {
    const instance = commonNameOf(tags[peerSubjectTag] ?? "");
    const peer = (instance === undefined ? undefined : peers.resolve(instance)) ?? unknownPeer;
    for (const [key, suffix] of labelSuffixes) labels[`source_${suffix}`] = peer[key] || unknown;
    labels["connection_security_policy"] =
      isAbsent(tags["source_principal"]) && instance === undefined ? "none" : "mutual_tls";
  } else {
    labels["connection_security_policy"] = unknown;
  }
  const isOpaque = tags["request_protocol"] === "tcp" || tags["request_protocol"] === "udp";
  if (!isOpaque) {
    const isGrpc = (labels["grpc_response_status"] ?? "") !== "";
    labels["request_protocol"] = isGrpc ? "grpc" : "http";
  }
  return labels;
}

/** `CN` of an RFC 2253 subject, unescaped as far as instance names need it; undefined without one. */
export function commonNameOf(subject: string): string | undefined {
  return /(?:^|,)CN=([^,+]+)/.exec(subject)?.[1];
}

function fallbackFor(name: string, value: string): string {
  if (!isAbsent(value)) return value;
  if (name === "response_flags") return "-";
  return name === "grpc_response_status" ? "" : unknown;
}

function isAbsent(value: string | undefined): boolean {
  return value === undefined || value === "" || value === "-";
}
