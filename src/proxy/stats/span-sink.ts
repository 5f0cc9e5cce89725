/**
 * Makes a span of every sampled request and gathers spans into OTLP requests. It does not send:
 * `post` is handed in. At most `pendingSpansMax` wait; what comes then is dropped and counted.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { ExportTraceServiceRequest } from "../../wire/gen/ts/opentelemetry/proto/collector/trace/v1/trace_service.ts";
import type { KeyValue } from "../../wire/gen/ts/opentelemetry/proto/common/v1/common.ts";
import { upstreamSpanId } from "../../telemetry/trace-context.ts";
import {
  Span,
  Span_SpanKind,
  Status_StatusCode,
} from "../../wire/gen/ts/opentelemetry/proto/trace/v1/trace.ts";

export interface SpanSinkOptions {
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  /** Attributes of this proxy: `service.name` and what else names it. */
  readonly resource: Readonly<Record<string, string>>;
  /** The request gets a span of its own towards the upstream, below that of the server. */
  readonly spawnsUpstreamSpan?: boolean;
  /** Sends one encoded ExportTraceServiceRequest; must not throw. */
  readonly post: (body: Uint8Array, done: (isAccepted: boolean) => void) => void;
}

const flushAfterMs = 1000;
const batchSpans = 256;
const pendingSpansMax = 4096;

/** Spans of one process, sent one batch at a time. */
export class SpanSink {
  readonly #options: SpanSinkOptions;
  #pending: Span[] = [];
  #timer: Timer | undefined;
  #isPosting = false;

  constructor(options: SpanSinkOptions) {
    this.#options = options;
  }

  add(record: RequestRecord): void {
    if (!record.isSampled || record.traceId === "" || record.spanId === "") return;
    if (this.#pending.length >= pendingSpansMax) {
      this.#count("dropped", 1);
      return;
    }
    if (this.#options.spawnsUpstreamSpan === true) {
      this.#pending.push(spanOf(record, "server"));
      if (record.upstreamHost !== undefined) this.#pending.push(spanOf(record, "upstream"));
    } else this.#pending.push(spanOf(record, record.direction === "inbound" ? "server" : "client"));
    if (this.#pending.length >= batchSpans) this.flush();
    else this.#timer ??= this.#options.clock.schedule(flushAfterMs, () => this.flush());
  }

  /** Sends what waits, unless a batch is on its way already. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#isPosting || this.#pending.length === 0) return;
    const spans = this.#pending.splice(0, batchSpans);
    const body = ExportTraceServiceRequest.encode(
      ExportTraceServiceRequest.fromPartial({
        resourceSpans: [
          {
            resource: { attributes: attributesOf(this.#options.resource) },
            scopeSpans: [{ scope: { name: "heddle" }, spans }],
          },
        ],
      }),
    ).finish();
    this.#isPosting = true;
    this.#options.post(body, (isAccepted) => {
      this.#isPosting = false;
      this.#count(isAccepted ? "sent" : "failed", spans.length);
      if (this.#pending.length >= batchSpans) this.flush();
      else if (this.#pending.length > 0) {
        this.#timer ??= this.#options.clock.schedule(flushAfterMs, () => this.flush());
      }
    });
  }

  close(): void {
    this.flush();
    this.#timer?.cancel();
  }

  #count(outcome: "sent" | "failed" | "dropped", spans: number): void {
    this.#options.metrics
      .counter("heddle_spans_total", "Spans by what became of them.", { outcome })
      .add(spans);
  }
}

/** `upstream`: the span below the request's own, where there are two. */
function spanOf(record: RequestRecord, role: "server" | "client" | "upstream"): Span {
  const startNs = BigInt(Math.round(record.startMs * 1000)) * 1000n;
  const isUpstream = role === "upstream";
  const spanId = isUpstream ? upstreamSpanId(record.spanId) : record.spanId;
  const attributes: Record<string, string | number> = {
    "http.request.method": record.method,
    "url.path": record.path.split("?", 1)[0] ?? "",
    "server.address": record.authority,
    "network.protocol.version": record.protocol.replace(/^HTTP\//, ""),
    "http.response.status_code": record.responseCode,
    "client.address": record.downstreamRemoteAddress.address,
    "envoy.upstream_cluster": record.upstreamCluster,
    "envoy.response_flags": record.responseFlags === "" ? "-" : record.responseFlags,
    "http.request.header.x-request-id": record.requestId,
    "http.request.body.size": record.bytesReceived,
    "http.response.body.size": record.bytesSent,
  };
  if (record.upstreamHost !== undefined) {
    attributes["network.peer.address"] = record.upstreamHost.address;
    attributes["network.peer.port"] = record.upstreamHost.port;
  }
  const isError = record.responseCode >= 500 || record.responseCode === 0;
  return Span.fromPartial({
    traceId: Buffer.from(record.traceId, "hex"),
    spanId: Buffer.from(spanId, "hex"),
    parentSpanId: Buffer.from(isUpstream ? record.spanId : record.parentSpanId, "hex"),
    name: record.operation || `${record.method} ${record.authority}`,
    kind: role === "server" ? Span_SpanKind.SPAN_KIND_SERVER : Span_SpanKind.SPAN_KIND_CLIENT,
    startTimeUnixNano: startNs,
    endTimeUnixNano: startNs + BigInt(Math.round(record.durationMs * 1e6)),
    attributes: attributesOf(attributes),
    status: isError
      ? { code: Status_StatusCode.STATUS_CODE_ERROR, message: record.responseCodeDetails }
      : undefined,
  });
}

function attributesOf(values: Readonly<Record<string, string | number>>): KeyValue[] {
  return Object.entries(values).map(([key, value]) => ({
    key,
    keyStrindex: 0,
    value: typeof value === "number" ? { intValue: BigInt(value) } : { stringValue: value },
  }));
}
