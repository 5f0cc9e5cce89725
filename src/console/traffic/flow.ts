/**
 * What flowed between two ends in a window: the one table that graph, services and status are made
 * of. One row for each source, destination, service and protocol; pure arithmetic, no queries.
 */
import { type Bucket, bucketQuantile } from "../../store/bucket-quantile.ts";
import type { Health, MtlsState, NodeKind, Traffic } from "../api.ts";

export interface Flow {
  readonly source: FlowEnd;
  readonly target: FlowEnd;
  /** Service the request was for; undefined where none is known. */
  readonly service: { readonly name: string; readonly namespace: string } | undefined;
  readonly protocol: "http" | "grpc" | "tcp" | "udp";
  /** Requests per second by response code. */
  readonly codes: Map<string, number>;
  readonly flags: Map<string, number>;
  errorsPerSecond: number;
  /** Cumulative, per second, by upper bound in milliseconds. */
  readonly buckets: Map<number, number>;
  tcpSentBytesPerSecond: number;
  tcpReceivedBytesPerSecond: number;
  requestMessagesPerSecond: number;
  responseMessagesPerSecond: number;
  /** Requests (or bytes) per second that came with, and without, mutual TLS. */
  mutualPerSecond: number;
  plaintextPerSecond: number;
  readonly sourcePrincipals: Set<string>;
  readonly destinationPrincipals: Set<string>;
}

export interface FlowEnd {
  readonly kind: NodeKind;
  readonly name: string;
  readonly namespace: string;
  readonly version: string | undefined;
}

export function endId({ kind, namespace, name }: FlowEnd): string {
  // A gateway is a workload that stands at the edge: the same thing with another picture.
  return `${kind === "gateway" ? "workload" : kind}/${namespace}/${name}`;
}

export function requestsPerSecond(flows: readonly Flow[]): number {
  let total = 0;
  for (const { codes } of flows) for (const rate of codes.values()) total += rate;
  return total;
}

export function trafficOf(flows: readonly Flow[]): Traffic {
  const requests = requestsPerSecond(flows);
  const errors = sumOf(flows, (flow) => flow.errorsPerSecond);
  const buckets = bucketsOf(flows);
  const quantile = (of: number): number | undefined => {
    const value = bucketQuantile(of, buckets);
    return Number.isFinite(value) ? value : undefined;
  };
  return {
    requestsPerSecond: requests,
    errorFraction: requests > 0 ? errors / requests : 0,
    p50Ms: quantile(0.5),
    p95Ms: quantile(0.95),
    p99Ms: quantile(0.99),
    tcpSentBytesPerSecond: sumOf(flows, (flow) => flow.tcpSentBytesPerSecond),
    tcpReceivedBytesPerSecond: sumOf(flows, (flow) => flow.tcpReceivedBytesPerSecond),
    requestMessagesPerSecond: sumOf(flows, (flow) => flow.requestMessagesPerSecond),
    responseMessagesPerSecond: sumOf(flows, (flow) => flow.responseMessagesPerSecond),
  };
}

/** One failure among few requests is no verdict: a colour needs a number of them behind it. */
const healthRules = { failingFraction: 0.1, failingErrors: 3, degradedFraction: 0.01 } as const;

export function healthOf(traffic: Traffic, windowMs: number): Health {
  const { requestsPerSecond: rate, errorFraction } = traffic;
  if (rate === 0) {
    return traffic.tcpSentBytesPerSecond + traffic.tcpReceivedBytesPerSecond > 0
      ? "healthy"
      : "idle";
  }
  const errors = rate * errorFraction * (windowMs / 1000);
  if (errorFraction >= healthRules.failingFraction && errors >= healthRules.failingErrors) {
    return "failing";
  }
  return errorFraction >= healthRules.degradedFraction ? "degraded" : "healthy";
}

export function mtlsOf(flows: readonly Flow[]): MtlsState {
  const mutual = sumOf(flows, (flow) => flow.mutualPerSecond);
  const plaintext = sumOf(flows, (flow) => flow.plaintextPerSecond);
  if (mutual > 0) return plaintext > 0 ? "mixed" : "mutual";
  return plaintext > 0 ? "plaintext" : "unknown";
}

/** Bytes that nobody reads as requests. */
export function isOpaque(protocol: Flow["protocol"]): boolean {
  return protocol === "tcp" || protocol === "udp";
}

/** Of the requests whose destination said; bytes where there are no requests; undefined without any. */
export function mtlsFraction(flows: readonly Flow[]): number | undefined {
  const requests = flows.filter(({ protocol }) => !isOpaque(protocol));
  return fractionOf(requests) ?? fractionOf(flows);
}

function fractionOf(flows: readonly Flow[]): number | undefined {
  const mutual = sumOf(flows, (flow) => flow.mutualPerSecond);
  const all = mutual + sumOf(flows, (flow) => flow.plaintextPerSecond);
  return all > 0 ? mutual / all : undefined;
}

const severities: readonly Health[] = ["idle", "healthy", "degraded", "failing"];

/** Nothing that runs is ready: failing, whatever little arrives. Some are not: degraded. */
export function healthOfInstances(ready: number, total: number): Health {
  if (ready === total) return "idle";
  return ready === 0 ? "failing" : "degraded";
}

export function worstHealth(all: readonly Health[]): Health {
  const worst = Math.max(0, ...all.map((health) => severities.indexOf(health)));
  return severities[worst] ?? "idle";
}

export function sumByKey(
  maps: readonly ReadonlyMap<string, number>[],
): Readonly<Record<string, number>> {
  const total = new Map<string, number>();
  for (const map of maps) {
    for (const [key, rate] of map) total.set(key, (total.get(key) ?? 0) + rate);
  }
  return Object.fromEntries([...total].filter(([, rate]) => rate > 0));
}

function sumOf(flows: readonly Flow[], of: (flow: Flow) => number): number {
  return flows.reduce((total, flow) => total + of(flow), 0);
}

function bucketsOf(flows: readonly Flow[]): readonly Bucket[] {
  const total = new Map<number, number>();
  for (const { buckets } of flows) {
    for (const [upper, rate] of buckets) total.set(upper, (total.get(upper) ?? 0) + rate);
  }
  return [...total]
    .map(([upper, count]) => ({ upper, count }))
    .toSorted((a, b) => a.upper - b.upper);
}

/** What a workload's label says; Istio's `latest` stands for a version that nobody gave. */
export function versionOf(label: string | undefined): string | undefined {
  return label === "latest" || label === "" ? undefined : label;
}
