/**
 * Asks the metrics once for everything that flowed in a window, and joins what both ends say of it.
 * Figures are the source's, which also sees what never arrived; the destination's where the source
 * has no sidecar. Whether mutual TLS held only the destination knows.
 */
import { parseBucketBound } from "../../store/bucket-quantile.ts";
import type { InstantSample, LabelRecord, MetricsSource } from "../../store/metrics-source.ts";
import type { WorkloadSnapshot } from "../../model/workload.ts";
import { attributeAnonymous, type Reports } from "./anonymous.ts";
import { endId, type Flow, type FlowEnd, versionOf } from "./flow.ts";

const endLabels = [
  "reporter",
  "source_workload",
  "source_workload_namespace",
  "source_version",
  "destination_workload",
  "destination_workload_namespace",
  "destination_version",
  "destination_service",
  "destination_service_name",
  "destination_service_namespace",
  "request_protocol",
].join(", ");

const securityLabels = "connection_security_policy, source_principal, destination_principal";

export interface FlowQuery {
  readonly source: MetricsSource;
  readonly workloads: WorkloadSnapshot | undefined;
  readonly atMs: number;
  readonly windowMs: number;
}

export async function readFlows(query: FlowQuery): Promise<readonly Flow[]> {
  const window = `${Math.max(1000, Math.round(query.windowMs))}ms`;
  const ask = (labels: string, metric: string): Promise<readonly InstantSample[]> =>
    askVector(query, `sum by (${labels}) (rate(${metric}[${window}]))`);
  const codes = "response_code, response_flags, grpc_response_status";
  const [requests, durations, sent, received, asked, answered] = await Promise.all([
    ask(`${endLabels}, ${codes}, ${securityLabels}`, "istio_requests_total"),
    ask(`${endLabels}, le`, "istio_request_duration_milliseconds_bucket"),
    ask(`${endLabels}, ${securityLabels}`, bytesMetric("sent")),
    ask(`${endLabels}, ${securityLabels}`, bytesMetric("received")),
    ask(endLabels, "istio_request_messages_total"),
    ask(endLabels, "istio_response_messages_total"),
  ]);
  const table = new FlowTable(query.workloads);
  for (const sample of requests) addRequests(table.reported(sample.labels), sample);
  for (const sample of durations) addDuration(table.reported(sample.labels), sample);
  for (const [samples, field] of [
    [sent, "tcpSentBytesPerSecond"],
    [received, "tcpReceivedBytesPerSecond"],
  ] as const) {
    for (const sample of samples) {
      const isUdp = sample.labels["request_protocol"] === "udp";
      const flow = table.reported(sample.labels, isUdp ? "udp" : "tcp");
      flow[field] += sample.value;
      addSecurity(flow, sample);
    }
  }
  for (const [samples, field] of [
    [asked, "requestMessagesPerSecond"],
    [answered, "responseMessagesPerSecond"],
  ] as const) {
    for (const sample of samples) table.reported(sample.labels)[field] += sample.value;
  }
  return table.joined();
}

/** Of connections of TCP and of sessions of UDP. */
function bytesMetric(way: "sent" | "received"): string {
  return `{__name__=~"istio_tcp_${way}_bytes_total|heddle_udp_${way}_bytes_total"}`;
}

async function askVector(query: FlowQuery, expr: string): Promise<readonly InstantSample[]> {
  const result = await query.source.query(expr, query.atMs);
  return result.kind === "vector" ? result.samples : [];
}

/** At most this many ends-and-protocol rows; what is beyond them is left out of pictures. */
const flowsMax = 20_000;

class FlowTable {
  readonly #gateways: ReadonlySet<string>;
  readonly #services: ReadonlySet<string>;
  readonly #reports = new Map<string, Reports>();

  constructor(workloads: WorkloadSnapshot | undefined) {
    const gateways = workloads?.instances.filter(({ role }) => role === "gateway") ?? [];
    this.#gateways = new Set(gateways.map(({ namespace, workload }) => `${namespace}/${workload}`));
    this.#services = new Set(workloads?.services.map((one) => `${one.namespace}/${one.name}`));
  }

  /** The row of one reporter, made at the first mention. */
  reported(labels: LabelRecord, protocol: Flow["protocol"] = protocolOf(labels)): Flow {
    const flow = emptyFlow(this.#source(labels), this.#target(labels), labels, protocol);
    const key = [
      endId(flow.source),
      endId(flow.target),
      flow.service?.namespace,
      flow.service?.name,
      protocol,
    ].join(" ");
    let reports = this.#reports.get(key);
    if (reports === undefined) {
      if (this.#reports.size >= flowsMax) return flow;
      reports = { source: undefined, destination: undefined };
      this.#reports.set(key, reports);
    }
    const reporter = labels["reporter"] === "source" ? "source" : "destination";
    return (reports[reporter] ??= flow);
  }

  joined(): readonly Flow[] {
    return attributeAnonymous([...this.#reports.values()]).flatMap(({ source, destination }) => {
      if (source === undefined) return destination ?? [];
      if (destination === undefined) return source;
      source.mutualPerSecond = destination.mutualPerSecond;
      source.plaintextPerSecond = destination.plaintextPerSecond;
      for (const side of ["sourcePrincipals", "destinationPrincipals"] as const) {
        for (const principal of destination[side]) source[side].add(principal);
      }
      return source;
    });
  }

  #source(labels: LabelRecord): FlowEnd {
    const name = known(labels["source_workload"]);
    const namespace = known(labels["source_workload_namespace"]) ?? "";
    if (name === undefined)
      return { kind: "unknown", name: "unknown", namespace: "", version: undefined };
    return this.#workload(name, namespace, known(labels["source_version"]));
  }

  #target(labels: LabelRecord): FlowEnd {
    const name = known(labels["destination_workload"]);
    const namespace = known(labels["destination_workload_namespace"]) ?? "";
    if (name !== undefined) {
      return this.#workload(name, namespace, known(labels["destination_version"]));
    }
    const service = known(labels["destination_service_name"]);
    const serviceNamespace = known(labels["destination_service_namespace"]) ?? "";
    if (service !== undefined && this.#services.has(`${serviceNamespace}/${service}`)) {
      return { kind: "service", name: service, namespace: serviceNamespace, version: undefined };
    }
    const host = externalName(service, known(labels["destination_service"]));
    return {
      kind: host === undefined ? "unknown" : "external",
      name: host ?? "unknown",
      namespace: "",
      version: undefined,
    };
  }

  #workload(name: string, namespace: string, version: string | undefined): FlowEnd {
    const isGateway = this.#gateways.has(`${namespace}/${name}`);
    const kind = isGateway ? "gateway" : "workload";
    return { kind, name, namespace, version: versionOf(version) };
  }
}

function emptyFlow(
  source: FlowEnd,
  target: FlowEnd,
  labels: LabelRecord,
  protocol: Flow["protocol"],
): Flow {
  const name = known(labels["destination_service_name"]);
  const namespace = known(labels["destination_service_namespace"]) ?? "";
  return {
    source,
    target,
    service: name === undefined ? undefined : { name, namespace },
    protocol,
    codes: new Map(),
    flags: new Map(),
    errorsPerSecond: 0,
    buckets: new Map(),
    tcpSentBytesPerSecond: 0,
    tcpReceivedBytesPerSecond: 0,
    requestMessagesPerSecond: 0,
    responseMessagesPerSecond: 0,
    mutualPerSecond: 0,
    plaintextPerSecond: 0,
    sourcePrincipals: new Set(),
    destinationPrincipals: new Set(),
  };
}

function addRequests(flow: Flow, { labels, value }: InstantSample): void {
  const code = labels["response_code"] ?? "0";
  const flags = labels["response_flags"] ?? "-";
  flow.codes.set(code, (flow.codes.get(code) ?? 0) + value);
  if (flags !== "-" && flags !== "") flow.flags.set(flags, (flow.flags.get(flags) ?? 0) + value);
  if (isError(code, flags, labels["grpc_response_status"])) flow.errorsPerSecond += value;
  addSecurity(flow, { labels, value });
}

/** A client that left (DC) is nobody's failure; everything else without an answer is. */
function isError(code: string, flags: string, grpcStatus: string | undefined): boolean {
  if (code.startsWith("5")) return true;
  if (code === "0") return flags !== "DC";
  return grpcStatus !== undefined && grpcStatus !== "" && grpcStatus !== "0";
}

function addDuration(flow: Flow, { labels, value }: InstantSample): void {
  const upper = parseBucketBound(labels["le"]);
  if (upper !== undefined) flow.buckets.set(upper, (flow.buckets.get(upper) ?? 0) + value);
}

function addSecurity(flow: Flow, { labels, value }: InstantSample): void {
  const policy = labels["connection_security_policy"];
  if (policy === "mutual_tls") flow.mutualPerSecond += value;
  if (policy === "none") flow.plaintextPerSecond += value;
  const from = known(labels["source_principal"]);
  const to = known(labels["destination_principal"]);
  if (from !== undefined) flow.sourcePrincipals.add(from);
  if (to !== undefined) flow.destinationPrincipals.add(to);
}

function protocolOf(labels: LabelRecord): Flow["protocol"] {
  return labels["request_protocol"] === "grpc" ? "grpc" : "http";
}

function known(value: string | undefined): string | undefined {
  return value === undefined || value === "" || value === "unknown" ? undefined : value;
}

function externalName(service: string | undefined, host: string | undefined): string | undefined {
  if (service === "PassthroughCluster") return "outside the mesh";
  if (service === "BlackHoleCluster") return "blocked";
  return host ?? service;
}
