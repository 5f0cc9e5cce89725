/** Envoy's series of one listener. */
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import { standardBuckets } from "../../telemetry/standard-metrics.ts";

export interface ListenerCounters {
  onOpened(): void;
  onClosed(lengthMs: number): void;
  onOverflow(): void;
  onOverloaded(): void;
  onNoFilterChain(): void;
  onInspectionTimeout(): void;
}

export function createListenerCounters(
  metrics: MetricRegistry,
  listenerAddress: string,
): ListenerCounters {
  const labels = { listener_address: listenerAddress };
  const counter = (name: string, help: string): (() => void) => {
    const found = metrics.counter(`envoy_listener_${name}`, help, labels);
    return () => found.add();
  };
  const active = metrics.gauge(
    "envoy_listener_downstream_cx_active",
    "Accepted connections that are open",
    labels,
  );
  const open = metrics.gauge(
    "envoy_server_total_connections",
    "Accepted connections of all listeners",
  );
  const lengths = metrics.histogram(
    "envoy_listener_downstream_cx_length_ms",
    "Milliseconds for which connections were open",
    standardBuckets,
    labels,
  );
  const total = counter("downstream_cx_total", "Connections accepted");
  const destroyed = counter("downstream_cx_destroy", "Accepted connections that have closed");
  return {
    onOpened: () => {
      total();
      active.add(1);
      open.add(1);
    },
    onClosed: (lengthMs) => {
      destroyed();
      lengths.record(lengthMs);
      active.add(-1);
      open.add(-1);
    },
    onOverflow: counter("downstream_cx_overflow", "Connections refused by the limit"),
    onOverloaded: counter(
      "downstream_cx_overload_reject",
      "Connections refused because a resource runs short",
    ),
    onNoFilterChain: counter("no_filter_chain_match", "Connections no filter chain took"),
    onInspectionTimeout: counter(
      "downstream_pre_cx_timeout",
      "Connections whose first bytes did not come in time",
    ),
  };
}
