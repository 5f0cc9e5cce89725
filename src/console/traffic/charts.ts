/** The pictures of a service's page: PromQL and its answers, side by side. */
import type { MetricsSource, QueryRange, RangeSeries } from "../../store/metrics-source.ts";
import type { Chart } from "../api.ts";

export interface ChartsQuery {
  readonly source: MetricsSource;
  readonly service: { readonly name: string; readonly namespace: string };
  readonly range: QueryRange;
  /** What each rate is taken over: some scrapes, and no less than a step. */
  readonly rateWindowMs: number;
}

const usual: ReadonlySet<string> = new Set(["Requests by code", "Errors", "Latency"]);

export async function serviceCharts(query: ChartsQuery): Promise<readonly Chart[]> {
  const reporter = (await hasSourceReports(query)) ? "source" : "destination";
  const { name, namespace } = query.service;
  const selector = `reporter="${reporter}", destination_service_name=${JSON.stringify(name)}, destination_service_namespace=${JSON.stringify(namespace)}`;
  const window = `${query.rateWindowMs}ms`;
  const requests = (more = ""): string =>
    `sum(rate(istio_requests_total{${selector}${more}}[${window}]))`;
  const quantile = (of: number): string =>
    `histogram_quantile(${of}, sum by (le) (rate(istio_request_duration_milliseconds_bucket{${selector}}[${window}])))`;
  const tcp = (direction: string): string =>
    `sum(rate(istio_tcp_${direction}_bytes_total{${selector}}[${window}]))`;
  const messages = (of: string): string =>
    `sum(rate(istio_${of}_messages_total{${selector}}[${window}]))`;
  const charts = await Promise.all([
    draw(query, "Requests by code", "req/s", {
      "": `sum by (response_code) (rate(istio_requests_total{${selector}}[${window}]))`,
    }),
    draw(query, "Requests by version", "req/s", {
      "": `sum by (destination_version) (rate(istio_requests_total{${selector}}[${window}]))`,
    }),
    draw(query, "Errors", "%", {
      errors: `100 * (${requests(', response_code=~"5..|0"')} or vector(0)) / (${requests()} > 0)`,
    }),
    draw(query, "Latency", "ms", { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) }),
    draw(query, "gRPC messages", "msg/s", {
      "by callers": messages("request"),
      "by the service": messages("response"),
    }),
    draw(query, "TCP bytes", "B/s", { sent: tcp("sent"), received: tcp("received") }),
  ]);
  const drawn = charts.filter(
    ({ title, lines }) => lines.length > (title === "Requests by version" ? 1 : 0),
  );
  // Before the first traffic nobody knows whether it will be requests: what most services have.
  return drawn.length > 0 ? drawn : charts.filter(({ title }) => usual.has(title));
}

async function hasSourceReports({ source, service, range }: ChartsQuery): Promise<boolean> {
  const labels = `reporter="source", destination_service_name=${JSON.stringify(service.name)}, destination_service_namespace=${JSON.stringify(service.namespace)}`;
  const expr = `count(last_over_time({__name__=~"istio_requests_total|istio_tcp_sent_bytes_total", ${labels}}[1h]))`;
  const found = await source.query(expr, range.endMs);
  return found.kind === "vector" && found.samples.length > 0;
}

/** One line for each query, or for each series of a query without a label of its own. */
async function draw(
  { source, range }: ChartsQuery,
  title: string,
  unit: Chart["unit"],
  queries: Readonly<Record<string, string>>,
): Promise<Chart> {
  const timesMs: number[] = [];
  for (let at = range.startMs; at <= range.endMs; at += range.stepMs) timesMs.push(at);
  const lines: { readonly label: string; readonly values: readonly (number | null)[] }[] = [];
  for (const [label, expr] of Object.entries(queries)) {
    for (const series of await source.queryRange(expr, range)) {
      const name = label === "" ? Object.values(series.labels).join(" ") : label;
      lines.push({ label: name, values: aligned(series, timesMs) });
    }
  }
  lines.sort((a, b) => (a.label < b.label ? -1 : 1));
  return { title, unit, query: Object.values(queries).join("\n"), timesMs, lines };
}

function aligned(series: RangeSeries, timesMs: readonly number[]): readonly (number | null)[] {
  const byTime = new Map(
    series.timesMs.map((atMs, index) => [Math.round(atMs), series.values[index]]),
  );
  return timesMs.map((atMs) => {
    const value = byTime.get(Math.round(atMs));
    return value !== undefined && Number.isFinite(value) ? value : null;
  });
}
