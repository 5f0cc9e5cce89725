/**
 * Metrics of the proxy and, where the application exposes some, of the application: one answer on
 * :15020, so that a scraper needs one target for each workload. What the application answers is
 * handed on as it is; it cannot keep the proxy's metrics from being read.
 */
import type { RequestHttp } from "../../net/http-request.ts";
import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";

export interface MergedMetricsOptions {
  /** Prometheus text of the proxy. */
  readonly proxy: () => Promise<string> | string;
  /** `http://127.0.0.1:port/path`. */
  readonly applicationUrl: string;
  readonly requestHttp: RequestHttp;
  readonly metrics: MetricRegistry;
  readonly log: Logger;
}

const timeoutMs = 3000;
const applicationBytesMax = 16 * 1024 * 1024;

/** Makes the text of one scrape. */
export function mergedMetrics(options: MergedMetricsOptions): () => Promise<string> {
  const { applicationUrl: url, metrics, log } = options;
  // Istio's name for it.
  const failures = metrics.counter(
    "istio_agent_scrape_failures_total",
    "Scrapes of the application that gave nothing.",
    { type: "application" },
  );
  let hasFailed = false;
  const ofApplication = async (): Promise<string> => {
    let reason: string | undefined;
    try {
      const { status, text } = await options.requestHttp({
        url,
        timeoutMs,
        responseBytesMax: applicationBytesMax,
      });
      if (status === 200) {
        hasFailed = false;
        return asLines(text);
      }
      reason = `it answered ${status}`;
    } catch (thrown) {
      reason = messageOf(thrown);
    }
    failures.add(1);
    // One line when it breaks, not one for each scrape.
    if (!hasFailed) log.warn("the application's metrics cannot be read", { url, reason });
    hasFailed = true;
    return "";
  };
  return async () => {
    const application = await ofApplication();
    return `${await options.proxy()}${application}`;
  };
}

/** OpenMetrics ends with a mark, after which nothing would be read. */
function asLines(text: string): string {
  const lines = text.replace(/^# EOF\n?$/m, "");
  return lines === "" || lines.endsWith("\n") ? lines : `${lines}\n`;
}
