import type { WorkloadSnapshot } from "../model/workload.ts";
import type { ScrapeTarget } from "../store/scraper.ts";

/** Every instance with a sidecar, under the labels that dashboards made for Istio expect. */
export function scrapeTargetsOf(workloads: WorkloadSnapshot | undefined): readonly ScrapeTarget[] {
  return (workloads?.instances ?? [])
    .filter(({ state }) => state !== "starting" && state !== "stopped")
    .map(({ name, namespace, metricsUrl, labels }) => ({
      url: metricsUrl,
      labels: {
        job: "heddle-proxies",
        instance: hostOf(metricsUrl),
        namespace,
        pod: name,
        app: labels["app"] ?? "",
      },
    }));
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url;
}
