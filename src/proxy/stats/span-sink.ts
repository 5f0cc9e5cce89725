/**
 * Makes a span of every sampled request and gathers spans into OTLP requests. It does not send:
 * `post` is handed in. At most `pendingSpansMax` wait; what comes then is dropped and counted.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { ProtobufWriter } from "../../wire/protobuf-writer.ts";
import { writeAttribute, writeSpan, type SpanRole, type SpanStyle } from "./span-writer.ts";

export interface SpanSinkOptions {
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  /** Attributes of this proxy: `service.name` and what else names it. */
  readonly resource: Readonly<Record<string, string>>;
  /** The request gets a span of its own towards the upstream, below that of the server. */
  readonly spawnsUpstreamSpan?: boolean;
  readonly style?: SpanStyle;
  /** Sends one encoded ExportTraceServiceRequest; must not throw. */
  readonly post: (body: Uint8Array, done: (isAccepted: boolean) => void) => void;
}

const flushAfterMs = 1000;
const batchSpans = 256;
const pendingSpansMax = 4096;

/** Fields of OTLP's messages around spans. */
const request = { resourceSpans: 1 } as const;
const resourceSpans = { resource: 1, scopeSpans: 2 } as const;
const resourceFields = { attributes: 1 } as const;
const scopeSpans = { scope: 1, spans: 2 } as const;
const scopeFields = { name: 1 } as const;

/** Encoded spans, ready to be sent together. */
interface Batch {
  readonly body: Uint8Array;
  readonly spans: number;
}

/** Spans of one process, sent one batch at a time. */
export class SpanSink {
  readonly #options: SpanSinkOptions;
  readonly #full: Batch[] = [];
  /** The batch that is being filled: spans one after another. */
  readonly #filling = new ProtobufWriter();
  #spans = 0;
  #timer: Timer | undefined;
  #isPosting = false;

  constructor(options: SpanSinkOptions) {
    this.#options = options;
  }

  add(record: RequestRecord): void {
    if (!record.isSampled || record.traceId === "" || record.spanId === "") return;
    if (this.#full.length * batchSpans + this.#spans >= pendingSpansMax) {
      this.#count("dropped", 1);
      return;
    }
    if (this.#options.spawnsUpstreamSpan === true) {
      this.#write(record, "server");
      if (record.upstreamHost !== undefined) this.#write(record, "upstream");
    } else this.#write(record, record.direction === "inbound" ? "server" : "client");
    if (this.#full.length > 0) this.flush();
    else this.#wait();
  }

  #write(record: RequestRecord, role: SpanRole): void {
    writeSpan(this.#filling, scopeSpans.spans, record, { role, style: this.#options.style });
    if (++this.#spans >= batchSpans) this.#full.push(this.#close());
  }

  #wait(): void {
    this.#timer ??= this.#options.clock.schedule(flushAfterMs, () => this.flush());
  }

  /** Sends what waits, unless a batch is on its way already. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#isPosting) return;
    const batch = this.#full.shift() ?? (this.#spans > 0 ? this.#close() : undefined);
    if (batch === undefined) return;
    this.#isPosting = true;
    this.#options.post(batch.body, (isAccepted) => {
      this.#isPosting = false;
      this.#count(isAccepted ? "sent" : "failed", batch.spans);
      if (this.#full.length > 0) this.flush();
      else if (this.#spans > 0) this.#wait();
    });
  }

  /** What was filled becomes an ExportTraceServiceRequest. */
  #close(): Batch {
    const filling = this.#filling;
    const writer = new ProtobufWriter(filling.length + 1024);
    const whole = writer.begin(request.resourceSpans);
    const resource = writer.begin(resourceSpans.resource);
    for (const [key, value] of Object.entries(this.#options.resource)) {
      writeAttribute(writer, resourceFields.attributes, key, value);
    }
    writer.end(resource);
    const scoped = writer.begin(resourceSpans.scopeSpans);
    const scope = writer.begin(scopeSpans.scope);
    writer.text(scopeFields.name, "heddle");
    writer.end(scope);
    writer.append(filling.memory, filling.length);
    writer.end(scoped);
    writer.end(whole);
    const batch = { body: writer.memory.subarray(0, writer.length), spans: this.#spans };
    filling.clear();
    this.#spans = 0;
    return batch;
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
