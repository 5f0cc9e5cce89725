/** Envoy's series of one listener. */
import type { MetricRegistry } from "../../telemetry/metrics.ts";

export interface ListenerCounters {
  onOpened(): void;
  onClosed(): void;
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
  const total = counter("downstream_cx_total", "Connections accepted");
  const destroyed = counter("downstream_cx_destroy", "Accepted connections that have closed");
  return {
    onOpened: () => {
      total();
      active.add(1);
    },
    onClosed: () => {
      destroyed();
      active.add(-1);
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
