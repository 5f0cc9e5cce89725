/** Envoy's series of one UDP proxy, and those of its bounds. */
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";

export interface UdpCounters {
  readonly sessions: Counter;
  readonly receivedBytes: Counter;
  readonly receivedDatagrams: Counter;
  readonly sentBytes: Counter;
  readonly sentDatagrams: Counter;
  readonly receiveErrors: Counter;
  readonly idle: Counter;
  readonly noRoute: Counter;
  /** Datagrams for which no session was made: the table, or the cluster's limit, is full. */
  readonly overflow: Counter;
  /** Datagrams that were lost because too much waits to be sent. */
  readonly dropped: Counter;
  addActive(by: number): void;
}

export function createUdpCounters(metrics: MetricRegistry, statPrefix: string): UdpCounters {
  const labels = { udp_prefix: statPrefix };
  const counter = (name: string, help: string): Counter =>
    metrics.counter(`envoy_udp_downstream_sess_${name}`, help, labels);
  const active = metrics.gauge("envoy_udp_downstream_sess_active", "Sessions of UDP", labels);
  return {
    sessions: counter("total", "Sessions of UDP that were made"),
    receivedBytes: counter("rx_bytes", "Bytes that came from clients"),
    receivedDatagrams: counter("rx_datagrams", "Datagrams that came from clients"),
    sentBytes: counter("tx_bytes", "Bytes that went to clients"),
    sentDatagrams: counter("tx_datagrams", "Datagrams that went to clients"),
    receiveErrors: counter("rx_errors", "Errors of the socket that clients send to"),
    noRoute: counter("no_route", "Datagrams for which there is no cluster or endpoint"),
    idle: metrics.counter("envoy_udp_idle_timeout", "Sessions that ended unused", labels),
    overflow: counter("overflow", "Datagrams without a session because there are too many"),
    dropped: counter("tx_dropped", "Datagrams lost because too much waits to be sent"),
    addActive: (by) => active.add(by),
  };
}
