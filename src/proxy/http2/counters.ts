/** How often peers met the bounds of HTTP/2: Envoy's series where it has one. */
import type { Counter } from "../../telemetry/metrics.ts";
import type { Flood } from "../../wire/http2-floods.ts";
import type { Violation } from "../../wire/http2-frames.ts";
import type { ProxyContext } from "../context.ts";

/** What connections of either side count. */
export interface PeerCounters {
  readonly connections: Counter;
  readonly resetsReceived: Counter;
  readonly resetsSent: Counter;
  readonly keepaliveTimeouts: Counter;
  readonly goAways: Counter;
  /** A bound was met, or a rule broken. */
  readonly onError: (why: Violation | Flood) => void;
}

export interface Http2Counters extends PeerCounters {
  readonly flushTimeouts: Counter;
  readonly contentOverflows: Counter;
  readonly settingsTimeouts: Counter;
}

const floods: { readonly [Kind in Flood]: readonly [name: string, help: string] } = {
  "empty-frames": ["inbound_empty_frames_flood", "Connections ended for frames without content"],
  priority: ["inbound_priority_frames_flood", "Connections ended for too many PRIORITY frames"],
  "window-updates": [
    "inbound_window_update_frames_flood",
    "Connections ended for too many WINDOW_UPDATE frames",
  ],
  "control-frames": [
    "outbound_control_flood",
    "Connections ended because answers to control frames were not read",
  ],
  "outbound-frames": ["outbound_flood", "Connections ended because frames were not read"],
  resets: ["premature_resets_flood", "Connections ended for too many streams broken off"],
  "header-frames": [
    "header_frames_flood",
    "Connections ended for header blocks in too many pieces",
  ],
};

export function createHttp2Counters(context: ProxyContext, statPrefix: string): Http2Counters {
  const labels = { http_conn_manager_prefix: statPrefix };
  const counter = (name: string, help: string): Counter =>
    context.metrics.counter(`envoy_http2_${name}`, help, labels);
  const connections = context.metrics.counter(
    "envoy_http_downstream_cx_http2_total",
    "HTTP/2 connections accepted",
    labels,
  );
  return {
    ...commonCounters(counter, connections),
    contentOverflows: counter(
      "outbound_content_overflow",
      "HTTP/2 answers broken off because too much waited for their client",
    ),
    flushTimeouts: counter("tx_flush_timeout", "HTTP/2 answers that clients did not read in time"),
    settingsTimeouts: counter("settings_timeout", "HTTP/2 connections without answer to SETTINGS"),
  };
}

/** For connections to the endpoints of a cluster. */
export function clusterHttp2Counters(
  counter: (name: string, help: string) => Counter,
): PeerCounters {
  const named = (name: string, help: string): Counter => counter(`http2_${name}`, help);
  return commonCounters(named, counter("upstream_cx_http2_total", "HTTP/2 connections begun"));
}

function commonCounters(
  counter: (name: string, help: string) => Counter,
  connections: Counter,
): PeerCounters {
  const messaging = counter("rx_messaging_error", "HTTP/2 messages or frames that break its rules");
  const overflow = counter("header_overflow", "HTTP/2 messages refused for a head beyond a limit");
  const byFlood = new Map<string, Counter>(
    Object.entries(floods).map(([kind, [name, help]]) => [kind, counter(name, help)]),
  );
  return {
    connections,
    resetsReceived: counter("rx_reset", "HTTP/2 streams broken off by peers"),
    resetsSent: counter("tx_reset", "HTTP/2 streams broken off by the proxy"),
    keepaliveTimeouts: counter("keepalive_timeout", "HTTP/2 connections without answer to a PING"),
    goAways: counter("goaway_sent", "HTTP/2 farewells sent"),
    onError: (why) => {
      if (why === "head-limit") return overflow.add();
      (byFlood.get(why) ?? messaging).add();
    },
  };
}
