/** Traces of requests for Datadog's agent (`/v0.4/traces`), one of each request, in MessagePack. */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { upstreamSpanId } from "../../telemetry/trace-context.ts";
import { MsgpackWriter } from "../../wire/msgpack-writer.ts";
import { requestTags, type TagOptions, type Tags, upstreamTags } from "./envoy-tags.ts";
import type { ReportEncoding } from "./report-queue.ts";

export interface DatadogSpansOptions extends TagOptions {
  readonly serviceName: string;
  readonly spawnsUpstreamSpan: boolean;
}

interface SpanFacts {
  readonly resource: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly tags: Tags;
  /** The first of its trace here: it tells what was decided about it. */
  readonly isLocalRoot: boolean;
}

/** Sampled as the tracer's own default has it. */
const samplingPriority = { key: "_sampling_priority_v1", keep: 1 } as const;

export class DatadogSpans implements ReportEncoding<RequestRecord> {
  readonly #options: DatadogSpansOptions;
  readonly #traces = new MsgpackWriter();
  #count = 0;

  constructor(options: DatadogSpansOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#traces.length;
  }

  add(record: RequestRecord): number {
    const { style, spawnsUpstreamSpan } = this.#options;
    const isServer = record.direction !== "outbound";
    const usual = isServer ? "ingress" : `egress ${record.authority}`;
    const hasTwo = spawnsUpstreamSpan && record.upstreamHost !== undefined;
    const spans = hasTwo ? 2 : 1;
    this.#traces.array(spans);
    this.#span(record, {
      resource: style.operation?.(record) || record.operation || usual,
      spanId: record.spanId,
      parentSpanId: record.parentSpanId,
      tags: requestTags(record, this.#options),
      isLocalRoot: true,
    });
    if (hasTwo) {
      this.#span(record, {
        resource: style.upstreamOperation?.(record) || `router ${record.upstreamCluster} egress`,
        spanId: upstreamSpanId(record.spanId),
        parentSpanId: record.spanId,
        tags: upstreamTags(record, this.#options),
        isLocalRoot: false,
      });
    }
    this.#count++;
    return spans;
  }

  #span(record: RequestRecord, facts: SpanFacts): void {
    const writer = this.#traces;
    const { error, ...tags } = facts.tags;
    const meta = Object.entries(tags);
    const upper = record.traceId.slice(0, 16);
    if (facts.isLocalRoot && !/^0+$/.test(upper)) meta.push(["_dd.p.tid", upper]);
    writer.map(12);
    writer.text("service");
    writer.text(this.#options.serviceName);
    writer.text("name");
    writer.text("envoy.proxy");
    writer.text("resource");
    writer.text(facts.resource);
    writer.text("trace_id");
    writer.uint64(idOf(record.traceId.slice(16)));
    writer.text("span_id");
    writer.uint64(idOf(facts.spanId));
    writer.text("parent_id");
    writer.uint64(idOf(facts.parentSpanId));
    writer.text("start");
    writer.uint64(BigInt(Math.round(record.startMs * 1000)) * 1000n);
    writer.text("duration");
    writer.uint64(BigInt(Math.max(0, Math.round(record.durationMs * 1e6))));
    writer.text("error");
    writer.int32(error === undefined ? 0 : 1);
    writer.text("meta");
    writer.map(meta.length);
    for (const [key, value] of meta) {
      writer.text(key);
      writer.text(value);
    }
    writer.text("metrics");
    writer.map(facts.isLocalRoot ? 1 : 0);
    if (facts.isLocalRoot) {
      writer.text(samplingPriority.key);
      writer.float64(samplingPriority.keep);
    }
    writer.text("type");
    writer.text("web");
  }

  seal(): Uint8Array {
    const traces = this.#traces;
    const whole = new MsgpackWriter();
    whole.array(this.#count);
    whole.append(traces.memory, traces.length);
    traces.clear();
    this.#count = 0;
    return whole.memory.subarray(0, whole.length);
  }
}

function idOf(hex: string): bigint {
  return hex === "" ? 0n : BigInt(`0x${hex}`);
}
