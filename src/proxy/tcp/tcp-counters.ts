/** Envoy's series of one `tcp_proxy`. */
import type { ByteMeter } from "../../net/channel.ts";
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";

const help = "As Envoy counts it.";

export interface TcpCounters {
  readonly connections: Counter;
  /** Of clients' connections. */
  readonly meter: ByteMeter;
  /** There is no such cluster. */
  readonly unrouted: Counter;
  readonly idle: Counter;
  readonly overlong: Counter;
  /** Chunks that came before there was a connection to send them on. */
  readonly early: Counter;
}

export function createTcpCounters(metrics: MetricRegistry, statPrefix: string): TcpCounters {
  const labels = { tcp_prefix: statPrefix };
  const counter = (name: string): Counter => metrics.counter(`envoy_tcp_${name}`, help, labels);
  return {
    connections: counter("downstream_cx_total"),
    meter: {
      received: counter("downstream_cx_rx_bytes_total"),
      sent: counter("downstream_cx_tx_bytes_total"),
    },
    unrouted: counter("downstream_cx_no_route"),
    idle: counter("idle_timeout"),
    overlong: counter("max_downstream_connection_duration"),
    early: counter("early_data_received_count_total"),
  };
}
