/** A number that only grows. */
export interface Counter {
  add(amount?: number): void;
  readonly value: number;
}

export interface Gauge {
  set(value: number): void;
  add(amount: number): void;
  readonly value: number;
}

/** Counts observations in fixed buckets. */
export interface Histogram {
  record(value: number): void;
}

export type Labels = Readonly<Record<string, string>>;

/**
 * Names and holds every metric of a process. Asking twice for the same name and labels gives the
 * same metric, so a hot path asks once and keeps the handle.
 */
export interface MetricRegistry {
  counter(name: string, help: string, labels?: Labels): Counter;
  gauge(name: string, help: string, labels?: Labels): Gauge;
  histogram(name: string, help: string, buckets: readonly number[], labels?: Labels): Histogram;
  /** Forgets one series. */
  remove(name: string, labels: Labels): void;
  /** All series as Prometheus text, version 0.0.4. */
  expose(): string;
}

/** Of an answer that `exposeProtobuf()` made. */
export const protobufContentType =
  "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
