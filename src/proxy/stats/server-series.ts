/** `envoy_server_…` of this process; `refresh` reads them, before each exposition. */
import type { MetricRegistry } from "../../telemetry/metrics.ts";

const help = "As Envoy counts it.";

/** As Envoy numbers what a server does. */
const states = { live: 0, draining: 1, initializing: 3 } as const;

export interface ServerFacts {
  readonly version: string;
  /** Threads that serve. */
  readonly concurrency: number;
  readonly state: () => keyof typeof states;
  /** Until the first certificate of ours or of an authority ends; undefined where there is none. */
  readonly daysUntilFirstExpiry: () => number | undefined;
}

/** What Envoy shows where there is no certificate. */
const noExpiry = 2 ** 32 - 1;

export function serverSeries(
  metrics: MetricRegistry,
  facts: ServerFacts,
): { readonly refresh: () => void } {
  const gauge = (name: string) => metrics.gauge(`envoy_server_${name}`, help);
  const allocated = gauge("memory_allocated");
  const heap = gauge("memory_heap_size");
  const physical = gauge("memory_physical_size");
  const uptime = gauge("uptime");
  const live = gauge("live");
  const state = gauge("state");
  const expiry = gauge("days_until_first_cert_expiring");
  gauge("concurrency").set(facts.concurrency);
  gauge("version").set(numberOf(facts.version));
  return {
    refresh() {
      const usage = process.memoryUsage();
      allocated.set(usage.heapUsed + usage.external);
      heap.set(usage.heapTotal + usage.external);
      physical.set(usage.rss);
      uptime.set(Math.floor(process.uptime()));
      const now = facts.state();
      state.set(states[now]);
      live.set(now === "live" ? 1 : 0);
      expiry.set(facts.daysUntilFirstExpiry() ?? noExpiry);
    },
  };
}

/** 1.2.3 as 1002003; Envoy's is made of the revision that it was built from. */
function numberOf(version: string): number {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map((part) => Number(part) || 0);
  return (major * 1000 + minor) * 1000 + patch;
}
