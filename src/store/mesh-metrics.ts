/**
 * The metrics of a running mesh, from wherever they are at the moment: the embedded store, which
 * scrapes, or an external Prometheus, which does that itself. Changed while it runs.
 */
import { HeddleError, messageOf } from "../base/error.ts";
import type { RequestHttp } from "../net/http-request.ts";
import type { MetricsSource } from "./metrics-source.ts";
import { prometheusMetrics } from "./prometheus-client.ts";
import {
  type EmbeddedMetrics,
  type EmbeddedMetricsHealth,
  type EmbeddedMetricsOptions,
  startEmbeddedMetrics,
} from "./start-metrics.ts";

export interface MeshMetricsOptions extends EmbeddedMetricsOptions {
  /** Asks an external Prometheus; `request` scrapes. */
  readonly requestPrometheus: RequestHttp;
}

export interface MeshMetrics {
  /** Always the current one: not to be kept. */
  readonly source: MetricsSource;
  readonly intervalMs: number;
  readonly retentionMs: number;
  /** Undefined for an external system, which has its own way to say. */
  health(): EmbeddedMetricsHealth | undefined;
  /** `http://prometheus:9090`; undefined for the embedded store, which then begins anew. */
  use(prometheusUrl: string | undefined): void;
  close(): void;
}

/** Prometheus scrapes every 15 s where nobody says otherwise. */
const usualScrapeMs = 15_000;
/** The console shows an hour at most. */
const shownMs = 3_600_000;
const timeoutMs = 4000;
/** After a failure nobody waits for the next: it is told at once, and asked again after this. */
const restMs = 3000;

export function startMeshMetrics(options: MeshMetricsOptions): MeshMetrics {
  let embedded: EmbeddedMetrics | undefined;
  let external: MetricsSource | undefined;
  let url: string | undefined;
  const own = (): EmbeddedMetrics => (embedded ??= startEmbeddedMetrics(options));
  own();
  return {
    get source() {
      return external ?? own().source;
    },
    get intervalMs() {
      return external === undefined ? own().intervalMs : usualScrapeMs;
    },
    get retentionMs() {
      return external === undefined ? own().retentionMs : shownMs;
    },
    health: () => (external === undefined ? own().health() : undefined),
    use(prometheusUrl) {
      if (prometheusUrl === url) return;
      url = prometheusUrl;
      options.log.info("metrics are asked elsewhere", { source: url ?? "embedded" });
      if (url === undefined) {
        external = undefined;
        own();
        return;
      }
      external = resting(
        prometheusMetrics({ url, request: options.requestPrometheus, timeoutMs }),
        options,
      );
      embedded?.close();
      embedded = undefined;
    },
    close: () => embedded?.close(),
  };
}

/** A source that is not there is asked now and then, not by everybody all the time. */
function resting(source: MetricsSource, { clock }: MeshMetricsOptions): MetricsSource {
  let failed: { readonly atMs: number; readonly error: HeddleError } | undefined;
  const guarded = async <T>(ask: () => Promise<T>): Promise<T> => {
    if (failed !== undefined && clock.monotonicMs() - failed.atMs < restMs) throw failed.error;
    try {
      const answer = await ask();
      failed = undefined;
      return answer;
    } catch (error) {
      if (error instanceof HeddleError && error.code !== "metrics.unreachable") throw error;
      const reason =
        error instanceof HeddleError
          ? error
          : new HeddleError("metrics.unreachable", messageOf(error), { cause: error });
      failed = { atMs: clock.monotonicMs(), error: reason };
      throw reason;
    }
  };
  return {
    name: source.name,
    query: (expr, atMs) => guarded(() => source.query(expr, atMs)),
    queryRange: (expr, range) => guarded(() => source.queryRange(expr, range)),
    labelValues: (label, selectors) => guarded(() => source.labelValues(label, selectors)),
    labelNames: (selectors) => guarded(() => source.labelNames(selectors)),
    series: (selectors) => guarded(() => source.series(selectors)),
  };
}
