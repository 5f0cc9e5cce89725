/** How often clients met the limits of a connection manager: Envoy's series, and ours where it has none. */
import type { Http1Head } from "../../wire/http1-head.ts";
import type { Counter } from "../../telemetry/metrics.ts";
import type { ProxyContext } from "../context.ts";

export interface LimitCounters {
  readonly idleConnections: Counter;
  readonly oldConnections: Counter;
  readonly slowHeads: Counter;
  /** They have carried as many requests as they may. */
  readonly usedConnections: Counter;
  /** Ended with an answer, because the proxy drains, or because a resource runs short. */
  readonly drainedConnections: Counter;
  readonly unkeptConnections: Counter;
  /** Too much of slowed answers waited already. */
  readonly overfullAnswers: Counter;
  /** A head was refused; counts it where a limit was the reason. */
  readonly onRefusedHead: (head: Http1Head) => void;
}

export function createLimitCounters(context: ProxyContext, statPrefix: string): LimitCounters {
  const labels = { http_conn_manager_prefix: statPrefix };
  const counter = (name: string, help: string): Counter =>
    context.metrics.counter(`envoy_http_${name}`, help, labels);
  const refused = (limit: string): Counter =>
    context.metrics.counter(
      "heddle_http_head_limit_total",
      "HTTP requests refused for a head beyond a limit",
      { ...labels, limit },
    );
  const line = refused("request_line_bytes");
  const bytes = refused("head_bytes");
  const fields = refused("fields");
  return {
    idleConnections: counter("downstream_cx_idle_timeout", "HTTP connections idle for too long"),
    oldConnections: counter(
      "downstream_cx_max_duration_reached",
      "HTTP connections open for too long",
    ),
    slowHeads: counter("downstream_rq_header_timeout", "HTTP request heads that came too slowly"),
    usedConnections: counter(
      "downstream_cx_max_requests_reached",
      "HTTP connections that have carried as many requests as they may",
    ),
    drainedConnections: counter(
      "downstream_cx_drain_close",
      "HTTP connections ended with an answer while the proxy drains",
    ),
    unkeptConnections: counter(
      "downstream_cx_overload_disable_keepalive",
      "HTTP connections ended with an answer because a resource runs short",
    ),
    overfullAnswers: context.metrics.counter(
      "heddle_http_throttled_content_overflow_total",
      "HTTP answers broken off because too much waited of answers that may leave only slowly",
      labels,
    ),
    onRefusedHead: ({ error, isStartLineRead }) => {
      if (error === "head-too-large") (isStartLineRead ? bytes : line).add();
      else if (error === "too-many-fields") fields.add();
    },
  };
}
