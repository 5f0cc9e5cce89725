/** Spans of requests as Zipkin's, version 2. */
import { childSpanId } from "../../telemetry/b3.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { momentsOf, requestTags, type TagOptions, type Tags, upstreamTags } from "./envoy-tags.ts";
import type { ReportEncoding } from "./report-queue.ts";
import {
  type ZipkinEncoding,
  ZipkinJson,
  ZipkinProtobuf,
  type ZipkinSpan,
} from "./zipkin-encodings.ts";

export interface ZipkinSpansOptions extends TagOptions {
  readonly serviceName: string;
  /** Server's spans are the client's, told from the other side. */
  readonly sharesSpans: boolean;
  readonly spawnsUpstreamSpan: boolean;
  /** Protobuf instead of JSON. */
  readonly isProtobuf: boolean;
}

interface SpanIds {
  readonly spanId: string;
  readonly parentSpanId: string;
}

export class ZipkinSpans implements ReportEncoding<RequestRecord> {
  readonly #options: ZipkinSpansOptions;
  readonly #encoding: ZipkinEncoding;

  constructor(options: ZipkinSpansOptions) {
    this.#options = options;
    this.#encoding = options.isProtobuf ? new ZipkinProtobuf() : new ZipkinJson();
  }

  get bytes(): number {
    return this.#encoding.bytes;
  }

  add(record: RequestRecord): number {
    const isServer = record.direction !== "outbound";
    const { style, spawnsUpstreamSpan } = this.#options;
    const name = style.operation?.(record) || record.operation || record.authority;
    this.#write(record, record, {
      name,
      isServer,
      tags: requestTags(record, this.#options),
    });
    if (!spawnsUpstreamSpan || record.upstreamHost === undefined) return 1;
    const ids = { spanId: childSpanId(record.spanId), parentSpanId: record.spanId };
    const upstream = style.upstreamOperation?.(record) || `router ${record.upstreamCluster} egress`;
    this.#write(record, ids, {
      name: upstream,
      isServer: false,
      tags: upstreamTags(record, this.#options),
    });
    return 2;
  }

  #write(
    record: RequestRecord,
    { spanId, parentSpanId }: SpanIds,
    { name, isServer, tags }: { name: string; isServer: boolean; tags: Tags },
  ): void {
    const { serviceName, sharesSpans, style } = this.#options;
    const timestamp = Math.round(record.startMs * 1000);
    const moments = style.isVerbose ? momentsOf(record) : [];
    // As in Zipkin's first format: the server has sent, the client has received.
    const end = { name: isServer ? "ss" : "cr", afterMs: record.durationMs };
    const annotations = [...moments, end].map((moment) => ({
      timestamp: timestamp + Math.round(moment.afterMs * 1000),
      value: moment.name,
    }));
    this.#encoding.add({
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
  }

  seal(): Uint8Array {
    return this.#encoding.seal();
  }
}

function endpointOf({
  downstreamLocalAddress: { address, port },
}: RequestRecord): ZipkinSpan["localEndpoint"] {
  return address.includes(":") ? { ipv6: address, port } : { ipv4: address, port };
}
