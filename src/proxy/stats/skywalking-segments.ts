/**
 * Segments of traces for SkyWalking: one of each request, with an entry span and, where the request has
 * a span of its own towards its upstream, an exit span. Each is a framed message of a call of gRPC.
 */
import { utf8Of } from "../../base/latin1.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { parseSw8 } from "../../telemetry/skywalking.ts";
import { ProtobufWriter } from "../../wire/protobuf-writer.ts";
import { momentsOf, requestTags, type TagOptions, type Tags, upstreamTags } from "./envoy-tags.ts";
import type { ReportEncoding } from "./report-queue.ts";

export interface SkywalkingOptions extends TagOptions {
  readonly service: string;
  readonly instance: string;
  readonly spawnsUpstreamSpan: boolean;
}

const segment = { traceId: 1, segmentId: 2, spans: 3, service: 4, instance: 5 } as const;
const span = {
  id: 1,
  parentId: 2,
  startTime: 3,
  endTime: 4,
  refs: 5,
  operation: 6,
  peer: 7,
  type: 8,
  layer: 9,
  component: 10,
  isError: 11,
  tags: 12,
  logs: 13,
} as const;
const reference = {
  traceId: 2,
  segmentId: 3,
  spanId: 4,
  service: 5,
  instance: 6,
  endpoint: 7,
  address: 8,
} as const;
const pair = { key: 1, value: 2 } as const;
const log = { time: 1, data: 2 } as const;

const exitType = 1;
const httpLayer = 3;
/** SkyWalking's number for Envoy, whose tags these are. */
const envoyComponent = 9000;

interface SpanFacts {
  readonly id: number;
  readonly peer: string;
  readonly tags: Tags;
}

export class SkywalkingSegments implements ReportEncoding<RequestRecord> {
  readonly #options: SkywalkingOptions;
  readonly #message = new ProtobufWriter();
  #frames: Buffer[] = [];
  #bytes = 0;

  constructor(options: SkywalkingOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(record: RequestRecord): number {
    const { service, instance, spawnsUpstreamSpan } = this.#options;
    const writer = this.#message;
    writer.clear();
    writer.text(segment.traceId, record.traceId);
    writer.text(segment.segmentId, record.spanId);
    const tags = requestTags(record, this.#options);
    this.#span(record, { id: 0, peer: tags["peer.address"] ?? "", tags });
    const hasTwo = spawnsUpstreamSpan && record.upstreamHost !== undefined;
    if (hasTwo && record.upstreamHost !== undefined) {
      this.#span(record, {
        id: 1,
        peer: formatSocketAddress(record.upstreamHost),
        tags: upstreamTags(record, this.#options),
      });
    }
    writer.text(segment.service, service);
    writer.text(segment.instance, instance);
    const frame = Buffer.alloc(5 + writer.length);
    frame.writeUInt32BE(writer.length, 1);
    writer.memory.copy(frame, 5, 0, writer.length);
    this.#frames.push(frame);
    this.#bytes += frame.length;
    return hasTwo ? 2 : 1;
  }

  #span(record: RequestRecord, { id, peer, tags }: SpanFacts): void {
    const writer = this.#message;
    const startMs = Math.round(record.startMs);
    const start = writer.begin(segment.spans);
    if (id > 0) writer.number(span.id, id);
    // Of the first one: none.
    if (id === 0) writer.minusOne(span.parentId);
    writer.number(span.startTime, startMs);
    writer.number(span.endTime, Math.round(record.startMs + record.durationMs));
    if (id === 0) writeReference(writer, record);
    // SkyWalking knows endpoints by their paths, whatever a route calls them.
    writer.text(span.operation, pathOf(record));
    if (peer !== "") writer.text(span.peer, peer);
    if (id > 0) writer.number(span.type, exitType);
    writer.number(span.layer, httpLayer);
    writer.number(span.component, envoyComponent);
    if (tags["error"] !== undefined) writer.number(span.isError, 1);
    for (const [key, value] of Object.entries(tags)) {
      writePair(writer, span.tags, ownNames[key] ?? key, value);
    }
    if (this.#options.style.isVerbose) {
      for (const { name, afterMs } of momentsOf(record)) {
        const entry = writer.begin(span.logs);
        writer.number(log.time, Math.round(startMs + afterMs));
        writePair(writer, log.data, "", name);
        writer.end(entry);
      }
    }
    writer.end(start);
  }

  seal(): Uint8Array {
    const body = Buffer.concat(this.#frames);
    this.#frames = [];
    this.#bytes = 0;
    return body;
  }
}

/** What SkyWalking calls some of them. */
const ownNames: Readonly<Record<string, string>> = {
  "http.url": "url",
  "http.status_code": "status_code",
};

function pathOf(record: RequestRecord): string {
  return utf8Of(record.requestHeader("x-envoy-original-path") ?? record.path);
}

function writePair(writer: ProtobufWriter, field: number, key: string, value: string): void {
  const start = writer.begin(field);
  if (key !== "") writer.text(pair.key, key);
  writer.text(pair.value, value);
  writer.end(start);
}

/** The caller's header stands where other tracers have the id of its span. */
function writeReference(writer: ProtobufWriter, { parentSpanId }: RequestRecord): void {
  const caller = parentSpanId === "" ? undefined : parseSw8(parentSpanId);
  if (caller === undefined) return;
  const start = writer.begin(span.refs);
  writer.text(reference.traceId, caller.traceId);
  writer.text(reference.segmentId, caller.segmentId);
  if (caller.spanId > 0) writer.number(reference.spanId, caller.spanId);
  writer.text(reference.service, caller.service);
  writer.text(reference.instance, caller.instance);
  writer.text(reference.endpoint, caller.endpoint);
  writer.text(reference.address, caller.address);
  writer.end(start);
}
