/** What all connections of one connection manager share, made once when it is configured. */
import type { Counter, Histogram } from "../../telemetry/metrics.ts";
import type { RequestRecord, RequestSink } from "../../telemetry/request-record.ts";
import type { Http1Writer } from "../../wire/http1-writer.ts";
import type { ProxyContext } from "../context.ts";
import type { RouteTable } from "../engine/route-table.ts";
import { DownstreamSeries } from "./downstream-series.ts";
import type { FilterList } from "./filter-list.ts";
import { createLimitCounters, type LimitCounters } from "./limit-counters.ts";
import type { LocalReplies } from "./local-replies.ts";
import type { RouterOptions } from "./router-options.ts";
import type { HttpSettings } from "./settings.ts";
import type { Upstreams } from "./upstreams.ts";

export interface HttpServices {
  readonly settings: HttpSettings;
  readonly context: ProxyContext;
  readonly upstreams: Upstreams;
  readonly filters: FilterList;
  readonly router: RouterOptions;
  /** Undefined where the proxy's own answers stay as they are. */
  readonly localReplies: LocalReplies | undefined;
  readonly sink: RequestSink;
  readonly direction: RequestRecord["direction"];
  /** The listener is drained when it changes, not when an operator calls the process unhealthy. */
  readonly ignoresHealth: boolean;
  /** The current routes; undefined when they have not arrived. */
  readonly routes: () => RouteTable | undefined;
  /** Bytes of a request that may be kept for a retry, or while it waits for an upstream. */
  readonly bufferBytesMax: number;
  /** Bytes towards HTTP/1.1 clients; emptied before anything else is written. */
  readonly downstreamWriter: Http1Writer;
  readonly counters: HttpCounters;
  /** Another configuration has taken the place of this one: no request begins under it any more. */
  isRetired: boolean;
}

export interface HttpCounters {
  readonly downstream: DownstreamSeries;
  readonly protocolErrors: Counter;
  readonly requestTimeouts: Counter;
  readonly onStreamTimeout: (isIdle: boolean) => void;
  readonly limits: LimitCounters;
  readonly overloaded: Counter;
  /** What the proxy itself added to a request, in milliseconds. */
  readonly overhead: Histogram;
}

/** Milliseconds; the proxy's own share is tens of microseconds. */
const overheadBuckets: readonly number[] = [
  0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000,
];

export function createCounters(context: ProxyContext, statPrefix: string): HttpCounters {
  const labels = { http_conn_manager_prefix: statPrefix };
  const counter = (name: string, help: string): Counter =>
    context.metrics.counter(`envoy_http_${name}`, help, labels);
  return {
    downstream: new DownstreamSeries(context.metrics, statPrefix),
    protocolErrors: counter("downstream_cx_protocol_error", "HTTP requests refused as malformed"),
    requestTimeouts: counter("downstream_rq_timeout", "HTTP requests that took too long to arrive"),
    overloaded: counter(
      "downstream_rq_overload_close",
      "HTTP requests refused because a resource runs short",
    ),
    limits: createLimitCounters(context, statPrefix),
    onStreamTimeout: streamTimeouts(counter),
    overhead: context.metrics.histogram(
      "heddle_proxy_overhead_milliseconds",
      "Time in which the proxy itself worked on a request, waiting for others left out",
      overheadBuckets,
      labels,
    ),
  };
}

/** A resource runs short; counts the refusal. Filters and routes would cost what is short. */
export function refusesRequest({ context, counters }: HttpServices): boolean {
  if (context.overload?.refusesRequests !== true) return false;
  counters.overloaded.add();
  return true;
}

function streamTimeouts(
  counter: (name: string, help: string) => Counter,
): HttpCounters["onStreamTimeout"] {
  const idle = counter("downstream_rq_idle_timeout", "HTTP streams idle for too long");
  const long = counter("downstream_rq_max_duration_reached", "HTTP streams that took too long");
  return (isIdle) => (isIdle ? idle : long).add();
}
