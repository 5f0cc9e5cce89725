/**
 * Where figures come from, in the shape of Prometheus's query API: the embedded store, or a
 * Prometheus (VictoriaMetrics, Thanos, Mimir) elsewhere. The console, and everything after it, asks
 * only this. Queries that cannot be answered throw `HeddleError`: `promql.parse` (with line:column),
 * `promql.execution`, `promql.limit`, `metrics.unreachable`.
 */
export interface MetricsSource {
  /** What to call it: `embedded`, or the address of the external system. */
  readonly name: string;
  query(expr: string, atMs: number): Promise<QueryResult>;
  /** Evaluates at `startMs`, `startMs + stepMs`, … up to and including `endMs`. */
  queryRange(expr: string, range: QueryRange): Promise<readonly RangeSeries[]>;
  /** Values of one label, sorted; of the series that match any of the selectors when there are some. */
  labelValues(label: string, selectors: readonly string[]): Promise<readonly string[]>;
  labelNames(selectors: readonly string[]): Promise<readonly string[]>;
  /** Label sets of the series that match any of the selectors. */
  series(selectors: readonly string[]): Promise<readonly LabelRecord[]>;
}

/** Labels of one series, `__name__` included where it has one. */
export type LabelRecord = Readonly<Record<string, string>>;

export interface QueryRange {
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

export type QueryResult =
  | { readonly kind: "scalar"; readonly atMs: number; readonly value: number }
  | {
      readonly kind: "vector";
      readonly atMs: number;
      readonly samples: readonly InstantSample[];
    };

export interface InstantSample {
  readonly labels: LabelRecord;
  readonly value: number;
}

/** Only the steps that have a value. */
export interface RangeSeries {
  readonly labels: LabelRecord;
  readonly timesMs: readonly number[];
  readonly values: readonly number[];
}

/** At most this many steps in one range query, as Prometheus. */
export const rangeStepsMax = 11_000;
