/**
 * What an hour of a mesh costs in the embedded metrics store: 50 workloads, scraped every 2 s, each
 * with what a sidecar of a small shop tells (three callers, three callees, histograms, and Envoy's own
 * series, most of them idle). `node --expose-gc bench/metrics-store/main.ts [WORKLOADS] [MINUTES]`
 */
import { embeddedMetrics } from "../../src/store/embedded-metrics.ts";
import { labelSetOf } from "../../src/store/label-set.ts";
import { defaultMetricsStoreOptions, MetricsStore } from "../../src/store/metrics-store.ts";
import { createMetricRegistry } from "../../src/telemetry/metric-registry.ts";

const [workloads = 50, minutes = 60] = process.argv.slice(2).map(Number);
const scrapeMs = 2000;
const bounds = [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000];
const histograms = [
  "istio_request_duration_milliseconds",
  "istio_request_bytes",
  "istio_response_bytes",
];

/** The same numbers in every run. */
let seed = 42;
function random(): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return seed / 2 ** 32;
}

interface Row {
  readonly name: string;
  value: number;
  /** What it grows by in a scrape; a gauge takes it as its value. */
  readonly next: (requests: number) => number;
  readonly isGauge: boolean;
}

function rowsOf(workload: number): readonly (readonly Row[])[] {
  const groups: Row[][] = [];
  for (let peer = 0; peer < 6; peer++) {
    const labels = `reporter="${peer < 3 ? "destination" : "source"}",source_workload="w${peer}",source_workload_namespace="default",source_principal="spiffe://cluster.local/ns/default/sa/w${peer}",source_version="v1",destination_workload="w${workload}",destination_workload_namespace="default",destination_principal="spiffe://cluster.local/ns/default/sa/w${workload}",destination_version="v1",destination_service="w${workload}.default.svc.cluster.local",destination_service_name="w${workload}",request_protocol="http",connection_security_policy="mutual_tls"`;
    const add = (name: string, more: string, next: Row["next"]): Row => {
      return { name: `${name}{${labels}${more}}`, value: 0, next, isGauge: false };
    };
    const group = [
      add("istio_requests_total", ',response_code="200"', (n) => n),
      add("istio_requests_total", ',response_code="503"', (n) => (random() < n / 2000 ? 1 : 0)),
    ];
    for (const histogram of histograms) {
      for (const [index, bound] of bounds.entries()) {
        const share = Math.min(1, (index + 1) / 9);
        group.push(add(`${histogram}_bucket`, `,le="${bound}"`, (n) => Math.round(n * share)));
      }
      group.push(add(`${histogram}_bucket`, ',le="+Inf"', (n) => n));
      group.push(add(`${histogram}_count`, "", (n) => n));
      const unit = histogram.endsWith("bytes") ? 1 : 0.001;
      group.push(
        add(`${histogram}_sum`, "", (n) => Math.round((n * (20 + 60 * random())) / unit) * unit),
      );
    }
    groups.push(group);
  }
  const own: Row[] = [];
  for (let index = 0; index < 120; index++) {
    const isBusy = index % 10 === 0;
    const isGauge = index % 3 === 0;
    const next = (): number => (isBusy ? Math.round(random() * (isGauge ? 5e7 : 40)) : 0);
    own.push({ name: `envoy_x_${index}{cluster_name="c"}`, value: 0, next, isGauge });
  }
  return [...groups, own];
}

function memoryBytes(): number {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const store = new MetricsStore(defaultMetricsStoreOptions, createMetricRegistry());
const all = Array.from({ length: workloads }, (_, index) => rowsOf(index));
for (const index of all.keys()) store.addTarget(`w${index}`, labelSetOf([["pod", `w${index}-0`]]));
const before = memoryBytes();
const scrapes = (minutes * 60_000) / scrapeMs;
let samples = 0;
let ingestMs = 0;
for (let scrape = 0; scrape < scrapes; scrape++) {
  for (const [index, groups] of all.entries()) {
    const lines: string[] = [];
    for (const group of groups) {
      // A third of the callers is quiet in most moments.
      const requests = random() < 0.35 ? 0 : Math.round(random() * 60);
      for (const row of group) {
        const step = row.next(requests);
        row.value = row.isGauge ? step : row.value + step;
        lines.push(`${row.name} ${row.value}`);
      }
    }
    const text = `${lines.join("\n")}\n`;
    const startMs = performance.now();
    store.ingest(`w${index}`, text, scrape * scrapeMs);
    ingestMs += performance.now() - startMs;
    samples += lines.length;
  }
}
const after = memoryBytes();
const startMs = performance.now();
const result = await embeddedMetrics(store).query(
  "sum by (destination_workload) (rate(istio_requests_total[60s]))",
  scrapes * scrapeMs,
);
const queryMs = performance.now() - startMs;
const mega = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
console.log(
  `${workloads} workloads, ${minutes} min: ${store.seriesCount} series, ${samples} samples`,
);
console.log(
  `samples ${mega(store.sampleBytes())}, ${(store.sampleBytes() / samples).toFixed(2)} bytes each`,
);
console.log(
  `memory ${mega(after - before)}, ${((after - before) / samples).toFixed(2)} bytes per sample, labels with it`,
);
console.log(
  `ingested ${Math.round(samples / ingestMs)}k samples/s; a minute's rates in ${queryMs.toFixed(1)} ms (${result.kind === "vector" ? result.samples.length : 0} rows)`,
);
