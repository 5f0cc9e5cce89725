/** Spans of requests as OTLP's ExportTraceServiceRequest. */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { ProtobufWriter } from "../../wire/protobuf-writer.ts";
import type { ReportEncoding } from "./report-queue.ts";
import { writeAttribute, writeSpan, type SpanRole, type SpanStyle } from "./span-writer.ts";

export interface OtlpSpansOptions {
  /** Attributes of this proxy: `service.name` and what else names it. */
  readonly resource: Readonly<Record<string, string>>;
  /** The request gets a span of its own towards the upstream, below that of the server. */
  readonly spawnsUpstreamSpan?: boolean;
  readonly style?: SpanStyle;
}

/** Fields of OTLP's messages around spans. */
const request = { resourceSpans: 1 } as const;
const resourceSpans = { resource: 1, scopeSpans: 2 } as const;
const resourceFields = { attributes: 1 } as const;
const scopeSpans = { scope: 1, spans: 2 } as const;
const scopeFields = { name: 1 } as const;

export class OtlpSpans implements ReportEncoding<RequestRecord> {
  readonly #options: OtlpSpansOptions;
  /** Spans one after another. */
  readonly #filling = new ProtobufWriter();

  constructor(options: OtlpSpansOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#filling.length;
  }

  add(record: RequestRecord): number {
    if (this.#options.spawnsUpstreamSpan === true) {
      this.#write(record, "server");
      if (record.upstreamHost === undefined) return 1;
      this.#write(record, "upstream");
      return 2;
    }
    this.#write(record, record.direction === "inbound" ? "server" : "client");
    return 1;
  }

  #write(record: RequestRecord, role: SpanRole): void {
    writeSpan(this.#filling, scopeSpans.spans, record, { role, style: this.#options.style });
  }

  seal(): Uint8Array {
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
    filling.clear();
    return writer.memory.subarray(0, writer.length);
  }
}
