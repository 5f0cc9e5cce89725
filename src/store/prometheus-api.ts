/**
 * Prometheus's query API (`/api/v1/…`) over any `MetricsSource`, so that Grafana, Kiali and promtool
 * can ask this mesh: parameters in, envelope out. Serving it is the console's.
 */
import { HeddleError } from "../base/error.ts";
import { parseDuration } from "./duration.ts";
import type { MetricsSource, QueryResult } from "./metrics-source.ts";

export interface PrometheusAnswer {
  readonly status: number;
  /** To be sent as JSON. */
  readonly body: object;
}

export interface PrometheusApi {
  readonly source: MetricsSource;
  readonly version: string;
  readonly scrapeIntervalMs: number;
  readonly retentionMs: number;
  readonly startedAtMs: number;
  readonly nowMs: () => number;
}

/** `path` is what follows `/api/v1/`. Undefined for one that is not served. */
export async function answerPrometheus(
  api: PrometheusApi,
  path: string,
  parameters: URLSearchParams,
): Promise<PrometheusAnswer | undefined> {
  const answer = paths.get(path) ?? labelValuesPath(path);
  if (answer === undefined) return undefined;
  try {
    return { status: 200, body: { status: "success", data: await answer(api, parameters) } };
  } catch (error) {
    if (!(error instanceof HeddleError)) throw error;
    const [status, errorType] = failures[error.code] ?? [500, "internal"];
    return { status, body: { status: "error", errorType, error: error.message } };
  }
}

type Answer = (api: PrometheusApi, parameters: URLSearchParams) => Promise<unknown>;

const failures: Readonly<Record<string, readonly [number, string]>> = {
  "promql.parameter": [400, "bad_data"],
  "promql.parse": [400, "bad_data"],
  "promql.execution": [422, "execution"],
  "promql.limit": [422, "execution"],
  "metrics.unreachable": [502, "unavailable"],
};

const paths: ReadonlyMap<string, Answer> = new Map<string, Answer>([
  ["query", instant],
  ["query_range", range],
  ["series", series],
  ["labels", async ({ source }, parameters) => source.labelNames(parameters.getAll("match[]"))],
  ["metadata", async () => ({})],
  ["rules", async () => ({ groups: [] })],
  ["alerts", async () => ({ alerts: [] })],
  ["query_exemplars", async () => []],
  ["status/buildinfo", buildInfo],
  ["status/runtimeinfo", runtimeInfo],
  ["status/config", configuration],
]);

function labelValuesPath(path: string): Answer | undefined {
  const label = /^label\/([a-zA-Z_][a-zA-Z0-9_]{0,255})\/values$/.exec(path)?.[1];
  if (label === undefined) return undefined;
  return ({ source }, parameters) => source.labelValues(label, parameters.getAll("match[]"));
}

async function instant(
  { source, nowMs }: PrometheusApi,
  parameters: URLSearchParams,
): Promise<object> {
  const result = await source.query(
    required(parameters, "query"),
    timeOf(parameters, "time") ?? nowMs(),
  );
  return formatResult(result);
}

async function range({ source }: PrometheusApi, parameters: URLSearchParams): Promise<object> {
  const startMs = timeOf(parameters, "start");
  const endMs = timeOf(parameters, "end");
  const stepMs = stepOf(required(parameters, "step"));
  if (startMs === undefined || endMs === undefined) throw invalid("start and end are required");
  const found = await source.queryRange(required(parameters, "query"), { startMs, endMs, stepMs });
  const result = found.map(({ labels, timesMs, values }) => ({
    metric: labels,
    values: timesMs.map((atMs, index) => formatSample(atMs, values[index] ?? Number.NaN)),
  }));
  return { resultType: "matrix", result };
}

async function series({ source }: PrometheusApi, parameters: URLSearchParams): Promise<unknown> {
  const selectors = parameters.getAll("match[]");
  if (selectors.length === 0) throw invalid("match[] is required");
  return source.series(selectors);
}

async function buildInfo({ version }: PrometheusApi): Promise<object> {
  // Clients switch features by this; the numbers are of the Prometheus whose API this follows.
  const application = `heddle ${version}`;
  return {
    version: "3.0.0",
    revision: application,
    branch: "",
    buildUser: "",
    buildDate: "",
    goVersion: "",
  };
}

async function runtimeInfo({ retentionMs, startedAtMs }: PrometheusApi): Promise<object> {
  return {
    startTime: new Date(startedAtMs).toISOString(),
    storageRetention: `${Math.round(retentionMs / 60_000)}m`,
  };
}

async function configuration({ scrapeIntervalMs }: PrometheusApi): Promise<object> {
  return {
    yaml: `global:\n  scrape_interval: ${Math.max(1, Math.round(scrapeIntervalMs / 1000))}s\n`,
  };
}

function formatResult(result: QueryResult): object {
  if (result.kind === "scalar") {
    return { resultType: "scalar", result: formatSample(result.atMs, result.value) };
  }
  return {
    resultType: "vector",
    result: result.samples.map(({ labels, value }) => ({
      metric: labels,
      value: formatSample(result.atMs, value),
    })),
  };
}

function formatSample(atMs: number, value: number): readonly [number, string] {
  if (value === Infinity) return [atMs / 1000, "+Inf"];
  return [atMs / 1000, value === -Infinity ? "-Inf" : String(value)];
}

function required(parameters: URLSearchParams, name: string): string {
  const value = parameters.get(name);
  if (value === null || value === "") throw invalid(`${name} is required`);
  return value;
}

function timeOf(parameters: URLSearchParams, name: string): number | undefined {
  const text = parameters.get(name);
  if (text === null || text === "") return undefined;
  const seconds = Number(text);
  const timeMs = Number.isNaN(seconds) ? Date.parse(text) : seconds * 1000;
  if (!Number.isFinite(timeMs)) throw invalid(`${name} is not a time`);
  return timeMs;
}

function stepOf(text: string): number {
  const seconds = Number(text);
  const stepMs = Number.isNaN(seconds) ? parseDuration(text) : seconds * 1000;
  if (stepMs === undefined || !(stepMs > 0)) throw invalid("step is not a positive duration");
  return stepMs;
}

function invalid(reason: string): HeddleError {
  return new HeddleError("promql.parameter", reason);
}
