/**
 * The metrics of a running mesh, ready to be asked: scrapes its instances into the embedded store.
 * An external Prometheus needs none of this: `prometheusMetrics` alone.
 */
import type { Clock } from "../base/clock.ts";
import type { RequestHttp } from "../net/http-request.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { embeddedMetrics } from "./embedded-metrics.ts";
import type { MetricsSource } from "./metrics-source.ts";
import { defaultMetricsStoreOptions, MetricsStore } from "./metrics-store.ts";
import { createScraper, type ScrapeTarget } from "./scraper.ts";

export interface EmbeddedMetricsOptions {
  /** Asked before every round. */
  readonly targets: () => readonly ScrapeTarget[];
  readonly request: RequestHttp;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
  /** How often each target is scraped. */
  readonly intervalMs?: number;
}

export interface EmbeddedMetrics {
  readonly source: MetricsSource;
  readonly intervalMs: number;
  readonly retentionMs: number;
  health(): EmbeddedMetricsHealth;
  close(): void;
}

export interface EmbeddedMetricsHealth {
  readonly targets: number;
  readonly targetsUp: number;
  readonly staleMs: number | undefined;
  readonly series: number;
  readonly droppedSeries: number;
  /** Why targets are down, by URL. */
  readonly failures: Readonly<Record<string, string>>;
}

/** Short, because people watch: a change shows within two of these. */
const defaultIntervalMs = 2000;

export function startEmbeddedMetrics(options: EmbeddedMetricsOptions): EmbeddedMetrics {
  const intervalMs = options.intervalMs ?? defaultIntervalMs;
  const store = new MetricsStore(defaultMetricsStoreOptions, options.metrics);
  const scraper = createScraper({ ...options, store, intervalMs, timeoutMs: intervalMs * 2 });
  scraper.start();
  return {
    source: embeddedMetrics(store),
    intervalMs,
    retentionMs: defaultMetricsStoreOptions.retentionMs,
    health: () => ({
      ...scraper.health(),
      series: store.seriesCount,
      droppedSeries: store.droppedSeries,
    }),
    close: () => scraper.close(),
  };
}
