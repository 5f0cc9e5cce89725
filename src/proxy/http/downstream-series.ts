/** Envoy's series of what clients send to one connection manager: connections, requests, bytes. */
import type { ByteMeter } from "../../net/channel.ts";
import { moment } from "../../telemetry/request-times.ts";
import { standardBuckets } from "../../telemetry/standard-metrics.ts";
import type { Counter, Gauge, Histogram, MetricRegistry } from "../../telemetry/metrics.ts";
import { flag } from "./response-flags.ts";
import type { StreamRecord } from "./stream-record.ts";

const help = "As Envoy counts it.";

/** The client did not wait for the end of its answer. */
const clientGone = flag.downstreamConnectionTermination | flag.downstreamRemoteReset;

/** How a connection manager loses a connection. */
export interface ClientEnd {
  /** `moved`: it lives on elsewhere. */
  readonly how: "local" | "remote" | "moved";
  /** What it has been heard to speak. */
  readonly protocol: "http1" | "http2" | undefined;
  /** Requests on it had not ended. */
  readonly isBusy: boolean;
}

export class DownstreamSeries {
  readonly meter: ByteMeter;
  readonly #metrics: MetricRegistry;
  readonly #labels: { readonly http_conn_manager_prefix: string };
  readonly #connections: Counter;
  readonly #active: Gauge;
  readonly #destroyed: Counter;
  readonly #lengths: Histogram;
  readonly #requests: Counter;
  readonly #requestsActive: Gauge;
  readonly #requestTimes: Histogram;
  readonly #completed: Counter;
  readonly #routed: Counter;
  /** By class: index 0 is 1xx. */
  readonly #classes: readonly Counter[];
  #http1: Counter | undefined;
  #http2: Counter | undefined;
  readonly #rare = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();

  constructor(metrics: MetricRegistry, statPrefix: string) {
    this.#metrics = metrics;
    this.#labels = { http_conn_manager_prefix: statPrefix };
    this.#connections = this.#counter("downstream_cx_total");
    this.#active = this.#gauge("downstream_cx_active");
    this.#destroyed = this.#counter("downstream_cx_destroy");
    this.#lengths = this.#timer("downstream_cx_length_ms");
    this.#requests = this.#counter("downstream_rq_total");
    this.#requestsActive = this.#gauge("downstream_rq_active");
    this.#requestTimes = this.#timer("downstream_rq_time");
    this.#completed = this.#counter("downstream_rq_completed");
    this.#routed = this.#counter("rq_total");
    this.meter = {
      received: this.#counter("downstream_cx_rx_bytes_total"),
      sent: this.#counter("downstream_cx_tx_bytes_total"),
    };
    this.#classes = [1, 2, 3, 4, 5].map((digit) =>
      metrics.counter("envoy_http_downstream_rq_xx", help, {
        ...this.#labels,
        response_code_class: String(digit),
      }),
    );
  }

  /** `isNew`: no other connection manager had it before. */
  onOpened(isNew: boolean, isTls: boolean): void {
    this.#active.add(1);
    if (isNew) this.#connections.add();
    if (!isTls) return;
    this.changeActive("downstream_cx_ssl_active", 1);
    if (isNew) this.count("downstream_cx_ssl_total");
  }

  onClosed({ how, protocol, isBusy }: ClientEnd, lengthMs: number, isTls: boolean): void {
    this.#active.add(-1);
    if (isTls) this.changeActive("downstream_cx_ssl_active", -1);
    if (protocol !== undefined) this.changeActive(`downstream_cx_${protocol}_active`, -1);
    if (how === "moved") return;
    this.#destroyed.add();
    this.#lengths.record(lengthMs);
    this.count(`downstream_cx_destroy_${how}`);
    if (!isBusy) return;
    this.count("downstream_cx_destroy_active_rq");
    this.count(`downstream_cx_destroy_${how}_active_rq`);
  }

  /** The client speaks it. */
  onProtocol(protocol: "http1" | "http2"): void {
    this.changeActive(`downstream_cx_${protocol}_active`, 1);
    // Connections of HTTP/2 are counted where its floods are.
    if (protocol === "http1") this.count("downstream_cx_http1_total");
  }

  /** A request has become a tunnel, or that is over. */
  onTunnel(change: 1 | -1): void {
    if (change === 1) this.count("downstream_cx_upgrades_total");
    this.changeActive("downstream_cx_upgrades_active", change);
  }

  onRequest(protocol: "HTTP/1.1" | "HTTP/2"): void {
    this.#requests.add();
    this.#requestsActive.add(1);
    if (protocol === "HTTP/2") {
      (this.#http2 ??= this.#counter("downstream_rq_http2_total")).add();
    } else (this.#http1 ??= this.#counter("downstream_rq_http1_total")).add();
  }

  onRequestEnd(record: StreamRecord): void {
    const { responseCode, flags, times } = record;
    this.#requestsActive.add(-1);
    // Whole ones, as in Envoy; a fraction would be put into a box for each request.
    if ((flags & clientGone) === 0) this.#requestTimes.record(Math.floor(record.durationMs));
    const isRouted = !Number.isNaN(times.at[moment.filtersEnd]);
    if (isRouted) this.#routed.add();
    if (responseCode > 0) {
      this.#completed.add();
      this.#classes[Math.floor(responseCode / 100) - 1]?.add();
    }
    if (responseCode >= 300 || record.responseCodeDetails === "direct_response") {
      this.#countAnswer(record);
    }
    if (flags !== 0) this.#countFlags(record);
  }

  #countAnswer({ responseCode, responseCodeDetails }: StreamRecord): void {
    if (responseCodeDetails === "via_upstream") return;
    if (responseCodeDetails === "direct_response") this.count("rq_direct_response");
    else if (responseCode === 413) this.count("downstream_rq_too_large");
    else if (responseCodeDetails === "upgrade_failed") {
      this.count("downstream_rq_ws_on_non_ws_route");
    } else if (responseCodeDetails === "path_normalization_failed") {
      this.count(
        responseCode === 307
          ? "downstream_rq_redirected_with_normalized_path"
          : "downstream_rq_failed_path_normalization",
      );
    }
  }

  #countFlags({ flags, responseCodeDetails }: StreamRecord): void {
    if ((flags & flag.noRouteFound) !== 0) this.count("no_route");
    if ((flags & flag.noClusterFound) !== 0) this.count("no_cluster");
    if ((flags & (clientGone | flag.downstreamProtocolError)) !== 0) {
      this.count("downstream_rq_rx_reset");
    }
    if (!responseCodeDetails.startsWith("upstream_reset_after_response_started")) return;
    this.count("rq_reset_after_downstream_response_started");
    this.count("downstream_rq_tx_reset");
  }

  /** What most connection managers never count. */
  count(name: string): void {
    let counter = this.#rare.get(name);
    if (counter === undefined) this.#rare.set(name, (counter = this.#counter(name)));
    counter.add();
  }

  changeActive(name: string, change: 1 | -1): void {
    let gauge = this.#gauges.get(name);
    if (gauge === undefined) this.#gauges.set(name, (gauge = this.#gauge(name)));
    gauge.add(change);
  }

  #counter(name: string): Counter {
    return this.#metrics.counter(`envoy_http_${name}`, help, this.#labels);
  }

  #gauge(name: string): Gauge {
    return this.#metrics.gauge(`envoy_http_${name}`, help, this.#labels);
  }

  #timer(name: string): Histogram {
    return this.#metrics.histogram(`envoy_http_${name}`, help, standardBuckets, this.#labels);
  }
}
