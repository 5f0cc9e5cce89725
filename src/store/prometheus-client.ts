/**
 * `MetricsSource` over HTTP: Prometheus, VictoriaMetrics, Thanos, Mimir. Their differences (rates
 * that are not extrapolated, for one) are theirs; what they answer is checked for shape and size.
 */
import { z } from "zod";
import { HeddleError, messageOf } from "../base/error.ts";
import type { RequestHttp } from "../net/http-request.ts";
import type { LabelRecord, MetricsSource, QueryResult } from "./metrics-source.ts";

export interface PrometheusOptions {
  /** `http://prometheus:9090`, or with a path before `/api/v1`. */
  readonly url: string;
  /** For authentication or tenants. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly request: RequestHttp;
  readonly timeoutMs: number;
}

const responseBytesMax = 64 * 1024 * 1024;
const labels = z.record(z.string(), z.string());
const sample = z.tuple([z.number(), z.string()]);

const failureShape = z.object({
  status: z.literal("error"),
  errorType: z.string(),
  error: z.string(),
});
const namesShape = z.array(z.string());
const seriesShape = z.array(labels);
const matrixShape = z.object({
  resultType: z.literal("matrix"),
  result: z.array(z.object({ metric: labels, values: z.array(sample) })),
});
const instantShape = z.discriminatedUnion("resultType", [
  z.object({ resultType: z.literal("scalar"), result: sample }),
  z.object({
    resultType: z.literal("vector"),
    result: z.array(z.object({ metric: labels, value: sample })),
  }),
]);

type Parameters = readonly (readonly [string, string])[];

export function prometheusMetrics(options: PrometheusOptions): MetricsSource {
  const ask = <T>(path: string, parameters: Parameters, shape: z.ZodType<T>): Promise<T> =>
    askPrometheus(options, { path, parameters, shape });
  const matches = (selectors: readonly string[]): Parameters =>
    selectors.map((selector) => ["match[]", selector]);
  return {
    name: options.url,
    query: async (query, atMs) => {
      const time = seconds(atMs);
      return instantResult(
        await ask(
          "query",
          [
            ["query", query],
            ["time", time],
          ],
          instantShape,
        ),
        atMs,
      );
    },
    queryRange: async (query, { startMs, endMs, stepMs }) => {
      const parameters: Parameters = [
        ["query", query],
        ["start", seconds(startMs)],
        ["end", seconds(endMs)],
        ["step", seconds(stepMs)],
      ];
      const { result } = await ask("query_range", parameters, matrixShape);
      return result.map(({ metric, values }) => ({
        labels: metric,
        timesMs: values.map(([at]) => at * 1000),
        values: values.map(([, text]) => parseSample(text)),
      }));
    },
    labelValues: (label, selectors) =>
      ask(`label/${encodeURIComponent(label)}/values`, matches(selectors), namesShape),
    labelNames: (selectors) => ask("labels", matches(selectors), namesShape),
    series: (selectors): Promise<readonly LabelRecord[]> =>
      ask("series", matches(selectors), seriesShape),
  };
}

async function askPrometheus<T>(
  { url, headers, request, timeoutMs }: PrometheusOptions,
  {
    path,
    parameters,
    shape,
  }: { readonly path: string; readonly parameters: Parameters; readonly shape: z.ZodType<T> },
): Promise<T> {
  const query = new URLSearchParams(parameters.map(([name, value]) => [name, value]));
  let answer: unknown;
  try {
    const { text } = await request({
      url: `${url.replace(/\/$/, "")}/api/v1/${path}?${query.toString()}`,
      headers: { accept: "application/json", ...headers },
      timeoutMs,
      responseBytesMax,
    });
    answer = JSON.parse(text);
  } catch (error) {
    // The request's own words begin with its address, and that with the whole query.
    const why = messageOf(error).replace(/^asking \S+: /, "");
    const reason = `Prometheus at ${url} does not answer: ${why}`;
    throw new HeddleError("metrics.unreachable", reason, { cause: error });
  }
  const failure = failureShape.safeParse(answer);
  if (failure.success) {
    const code = failure.data.errorType === "bad_data" ? "promql.parse" : "promql.execution";
    throw new HeddleError(code, failure.data.error);
  }
  const success = z.object({ status: z.literal("success"), data: shape }).safeParse(answer);
  if (success.success) return success.data.data;
  throw new HeddleError("metrics.unreachable", `${url} did not answer as Prometheus does`);
}

function instantResult(answer: z.infer<typeof instantShape>, atMs: number): QueryResult {
  if (answer.resultType === "scalar") {
    return { kind: "scalar", atMs, value: parseSample(answer.result[1]) };
  }
  const samples = answer.result.map(({ metric, value }) => ({
    labels: metric,
    value: parseSample(value[1]),
  }));
  return { kind: "vector", atMs, samples };
}

function parseSample(text: string): number {
  if (text === "+Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}

function seconds(timeMs: number): string {
  return String(timeMs / 1000);
}
