/**
 * A small shop as the console would see it, without running one: what runs, and metrics that grow at
 * rates a test can compare with what the page shows. The last minutes are constant, so that every
 * rate is exact; before them traffic swings a little, so that charts have a shape.
 */
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import type { WorkloadInstance, WorkloadSnapshot } from "../../../src/model/workload.ts";
import { embeddedMetrics } from "../../../src/store/embedded-metrics.ts";
import { labelSetOf } from "../../../src/store/label-set.ts";
import { defaultMetricsStoreOptions, MetricsStore } from "../../../src/store/metrics-store.ts";
import type { ConsoleMetrics } from "../../../src/console/views.ts";

export interface SeededFlow {
  readonly from: string;
  readonly to: string;
  readonly service: string;
  /** Per second, by response code. Multiples of 0.5 stay exact at the seeded pace. */
  readonly codes: Readonly<Record<string, number>>;
  readonly flags?: string;
  /** Fractions of requests up to each bound, as in `latencyBounds`. */
  readonly latency: readonly number[];
  readonly tcpBytesPerSecond?: number;
  /** It is gRPC: messages per second of the caller, and of the service. */
  readonly messages?: readonly [asked: number, answered: number];
  readonly isPlaintext?: boolean;
}

/** Opens the seeded console. */
export const consoleToken = "the-token-of-the-seeded-console";

export const latencyBounds = [1, 5, 10, 25, 50, 100, 250, 500, 1000] as const;

const fast = [0.1, 0.5, 0.8, 0.95, 0.99, 1, 1, 1, 1];
const usual = [0, 0.05, 0.3, 0.7, 0.9, 0.97, 0.995, 1, 1];
const slow = [0, 0, 0, 0.1, 0.35, 0.6, 0.85, 0.95, 1];

export const shopFlows: readonly SeededFlow[] = [
  flow("loadgen", "istio-ingressgateway", { 200: 42, 404: 1 }, usual, { isPlaintext: true }),
  flow("istio-ingressgateway", "storefront", { 200: 42, 404: 1 }, usual),
  flow("storefront", "catalog-v1", { 200: 54 }, fast, { service: "catalog" }),
  flow("storefront", "catalog-v2", { 200: 5.5, 503: 0.5 }, slow, {
    service: "catalog",
    flags: "URX",
  }),
  flow("storefront", "cart", { 200: 18 }, fast),
  flow("storefront", "prices", { 101: 0.5 }, fast),
  flow("cart", "inventory", { 200: 12 }, fast),
  flow("storefront", "checkout", { 200: 6, 500: 0.5 }, usual),
  flow("checkout", "payments", { 200: 5, 503: 1 }, slow, { flags: "UH" }),
  flow("checkout", "inventory", { 200: 6 }, fast),
  { ...flow("inventory", "ledger", {}, []), tcpBytesPerSecond: 2048 },
  flow("storefront", "offers", { 200: 2 }, fast, { messages: [4, 20] }),
  flow("payments", "", { 200: 5 }, slow, { service: "rates.example.com" }),
];

function flow(
  from: string,
  to: string,
  codes: Readonly<Record<string, number>>,
  latency: readonly number[],
  more: Partial<SeededFlow> = {},
): SeededFlow {
  return { from, to, service: to, codes, latency, ...more };
}

const versions: Readonly<Record<string, string>> = { "catalog-v1": "v1", "catalog-v2": "v2" };

export const shopWorkloads: readonly string[] = [
  "istio-ingressgateway",
  "storefront",
  "catalog-v1",
  "catalog-v2",
  "cart",
  "checkout",
  "payments",
  "inventory",
  "ledger",
  "prices",
  "offers",
  "loadgen",
];

export function shopSnapshot(revision = 1): WorkloadSnapshot {
  const services = [...new Set(shopWorkloads.map(serviceOf))].filter((name) => name !== "loadgen");
  return {
    revision,
    services: services.map((name, index) => ({
      name,
      namespace: namespaceOf(name),
      addresses: [`198.19.0.${index + 1}`],
      ports:
        name === "ledger"
          ? [{ name: "tcp-ledger", port: 9000, targetPort: 9000, protocol: "tcp" }]
          : name === "offers"
            ? [{ name: "grpc", port: 9090, targetPort: 9090, protocol: "grpc" }]
            : [{ name: "http", port: 80, targetPort: 8080, protocol: "http" }],
      selector: { app: name },
    })),
    instances: shopWorkloads.map(instanceOf),
  };
}

function instanceOf(workload: string, index: number): WorkloadInstance {
  const isGateway = workload === "istio-ingressgateway";
  return {
    name: `${workload}-0`,
    workload,
    namespace: namespaceOf(workload),
    serviceAccount: serviceOf(workload),
    labels: { app: serviceOf(workload), version: versions[workload] ?? "v1" },
    role: isGateway ? "gateway" : "workload",
    addresses: [`198.18.0.${index + 2}`],
    ports: [],
    capture: isGateway ? "gateway" : "transparent",
    localDestinations: [],
    state: workload === "prices" ? "restarting" : "ready",
    tokenSha256: "",
    dataPlane: workload === "payments" ? "envoy" : "heddle",
    adminSocket: "/nonexistent/admin.sock",
    metricsUrl: `http://198.18.0.${index + 2}:15020/stats/prometheus`,
    restarts: workload === "prices" ? 3 : 0,
    ...(workload === "prices"
      ? { detail: "the application exited with status 1; next start in 4 s" }
      : {}),
    sidecarPorts: { outbound: 15001, inbound: 15006 },
  };
}

function serviceOf(workload: string): string {
  return workload.replace(/-v\d+$/, "");
}

function namespaceOf(workload: string): string {
  return workload === "istio-ingressgateway" ? "istio-system" : "default";
}

export interface SeededMetrics extends ConsoleMetrics {
  /** Adds the samples of the next moment. */
  advance(nowMs: number): void;
  /** From the next sample on. */
  setFlows(flows: readonly SeededFlow[]): void;
}

export const seedStepMs = 2000;
const constantMs = 120_000;

/** Seeds `historyMs` of traffic that ends at `nowMs`. */
export function seedMetrics(nowMs: number, historyMs: number): SeededMetrics {
  const store = new MetricsStore(defaultMetricsStoreOptions, createMetricRegistry());
  const counters = new Map<string, number>();
  let flows = shopFlows;
  for (const workload of shopWorkloads)
    store.addTarget(workload, labelSetOf([["pod", `${workload}-0`]]));
  const step = (atMs: number, swing: number): void => {
    for (const workload of shopWorkloads) {
      const text = ["# TYPE istio_requests_total counter"];
      for (const one of flows) {
        if (one.from === workload) text.push(...samplesOf(one, "source", counters, swing));
        if (one.to === workload) text.push(...samplesOf(one, "destination", counters, swing));
      }
      store.ingest(workload, text.join("\n"), atMs);
    }
  };
  const startMs = nowMs - historyMs;
  for (let atMs = startMs; atMs <= nowMs; atMs += seedStepMs) {
    const isConstant = nowMs - atMs <= constantMs;
    step(atMs, isConstant ? 1 : 1 + 0.35 * Math.sin(atMs / 90_000) + 0.1 * Math.sin(atMs / 17_000));
  }
  return {
    source: embeddedMetrics(store),
    intervalMs: seedStepMs,
    retentionMs: defaultMetricsStoreOptions.retentionMs,
    health: () => ({
      targets: shopWorkloads.length,
      targetsUp: shopWorkloads.length,
      series: store.seriesCount,
      droppedSeries: 0,
      failures: {},
      staleMs: 0,
    }),
    advance: (atMs) => step(atMs, 1),
    setFlows(next) {
      flows = next;
    },
  };
}

function samplesOf(
  one: SeededFlow,
  reporter: "source" | "destination",
  counters: Map<string, number>,
  swing: number,
): readonly string[] {
  const seconds = seedStepMs / 1000;
  const labels = labelsOf(one, reporter);
  const lines: string[] = [];
  const grow = (name: string, more: string, amount: number): void => {
    const key = `${name}{${labels}${more}}`;
    const value = (counters.get(key) ?? 0) + amount;
    counters.set(key, value);
    lines.push(`${key} ${value}`);
  };
  const protocol = one.messages === undefined ? "http" : "grpc";
  let requests = 0;
  for (const [code, rate] of Object.entries(one.codes)) {
    const amount = Math.round(rate * seconds * swing);
    requests += amount;
    const flags = code.startsWith("5") ? (one.flags ?? "-") : "-";
    grow(
      "istio_requests_total",
      `,request_protocol="${protocol}",response_code="${code}",response_flags="${flags}"`,
      amount,
    );
  }
  for (const [index, fraction] of one.latency.entries()) {
    grow(
      "istio_request_duration_milliseconds_bucket",
      `,request_protocol="${protocol}",le="${latencyBounds[index]}"`,
      requests * fraction,
    );
  }
  if (one.latency.length > 0) {
    grow(
      "istio_request_duration_milliseconds_bucket",
      `,request_protocol="${protocol}",le="+Inf"`,
      requests,
    );
  }
  for (const [index, way] of (["request", "response"] as const).entries()) {
    const rate = one.messages?.[index];
    if (rate === undefined) continue;
    grow(`istio_${way}_messages_total`, ',request_protocol="grpc"', rate * seconds);
  }
  if (one.tcpBytesPerSecond !== undefined) {
    grow("istio_tcp_sent_bytes_total", ',request_protocol="tcp"', one.tcpBytesPerSecond * seconds);
    grow(
      "istio_tcp_received_bytes_total",
      ',request_protocol="tcp"',
      (one.tcpBytesPerSecond * seconds) / 2,
    );
  }
  return lines;
}

function labelsOf(one: SeededFlow, reporter: "source" | "destination"): string {
  const isExternal = one.to === "";
  const isMutual = one.isPlaintext !== true && !isExternal;
  const principal = (workload: string): string =>
    isMutual
      ? `spiffe://cluster.local/ns/${namespaceOf(workload)}/sa/${serviceOf(workload)}`
      : "unknown";
  const labels: Readonly<Record<string, string>> = {
    reporter,
    source_workload: one.from,
    source_workload_namespace: namespaceOf(one.from),
    source_version: versions[one.from] ?? "v1",
    source_principal: principal(one.from),
    destination_workload: isExternal ? "unknown" : one.to,
    destination_workload_namespace: isExternal ? "unknown" : namespaceOf(one.to),
    destination_version: isExternal ? "unknown" : (versions[one.to] ?? "v1"),
    destination_principal: isExternal ? "unknown" : principal(one.to),
    destination_service: isExternal
      ? one.service
      : `${one.service}.${namespaceOf(one.to)}.svc.cluster.local`,
    destination_service_name: one.service,
    destination_service_namespace: isExternal ? "unknown" : namespaceOf(one.to),
    connection_security_policy:
      reporter === "source" ? "unknown" : isMutual ? "mutual_tls" : "none",
  };
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(",");
}
