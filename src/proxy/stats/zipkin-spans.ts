/** Spans of requests as Zipkin's JSON, version 2. */
import { childSpanId } from "../../telemetry/b3.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { momentsOf, requestTags, type TagOptions, type Tags, upstreamTags } from "./envoy-tags.ts";
import type { ReportEncoding } from "./report-queue.ts";

export interface ZipkinSpansOptions extends TagOptions {
  readonly serviceName: string;
  /** Server's spans are the client's, told from the other side. */
  readonly sharesSpans: boolean;
  readonly spawnsUpstreamSpan: boolean;
}

interface SpanIds {
  readonly spanId: string;
  readonly parentSpanId: string;
}

interface ToldSpan {
  readonly name: string;
  readonly isServer: boolean;
  /** Of the connection that the span is about, or of both. */
  readonly moments: ReturnType<typeof momentsOf>;
  readonly tags: Tags;
}

export class ZipkinSpans implements ReportEncoding<RequestRecord> {
  readonly #options: ZipkinSpansOptions;
  #spans: string[] = [];
  #bytes = 0;

  constructor(options: ZipkinSpansOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(record: RequestRecord): number {
    const isServer = record.direction !== "outbound";
    const { style, spawnsUpstreamSpan } = this.#options;
    const name = style.operation?.(record) || record.operation || record.authority;
    this.#write(record, record, {
      name,
      isServer,
      moments: momentsOf(record),
      tags: requestTags(record, this.#options),
    });
    if (!spawnsUpstreamSpan || record.upstreamHost === undefined) return 1;
    const ids = { spanId: childSpanId(record.spanId), parentSpanId: record.spanId };
    const upstream = style.upstreamOperation?.(record) || `router ${record.upstreamCluster} egress`;
    this.#write(record, ids, {
      name: upstream,
      isServer: false,
      moments: momentsOf(record).filter(({ name }) => name.includes("upstream")),
      tags: upstreamTags(record, this.#options),
    });
    return 2;
  }

  #write(
    record: RequestRecord,
    { spanId, parentSpanId }: SpanIds,
    { name, isServer, moments, tags }: ToldSpan,
  ): void {
    const { serviceName, sharesSpans, style } = this.#options;
    const timestamp = Math.round(record.startMs * 1000);
    // As in Zipkin's first format: the server has sent, the client has received.
    const end = { name: isServer ? "ss" : "cr", afterMs: record.durationMs };
    const annotations = [...(style.isVerbose ? moments : []), end].map((moment) => ({
      timestamp: timestamp + Math.round(moment.afterMs * 1000),
      value: moment.name,
    }));
    const text = JSON.stringify({
      traceId: record.traceId,
      ...(parentSpanId === "" ? {} : { parentId: parentSpanId }),
      id: spanId,
      ...(name === "" ? {} : { name }),
      kind: isServer ? "SERVER" : "CLIENT",
      timestamp,
      duration: Math.max(1, Math.round(record.durationMs * 1000)),
      localEndpoint: {
        ...(serviceName === "" ? {} : { serviceName }),
        ...endpointOf(record),
      },
      annotations,
      tags,
      ...(isServer && sharesSpans ? { shared: true } : {}),
    });
    this.#spans.push(text);
    this.#bytes += text.length;
  }

  seal(): Uint8Array {
    const body = Buffer.from(`[${this.#spans.join(",")}]`);
    this.#spans = [];
    this.#bytes = 0;
    return body;
  }
}

function endpointOf({ downstreamLocalAddress: { address, port } }: RequestRecord): object {
  return address.includes(":") ? { ipv6: address, port } : { ipv4: address, port };
}
