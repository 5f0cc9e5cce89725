/**
 * One request as a span of OTLP, written as bytes: field numbers are those of
 * `opentelemetry/proto/trace/v1/trace.proto` and `common/v1/common.proto`.
 */
import type { FormatFunction } from "../../telemetry/access-log-format.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { phases, type RequestTimes, TimeSplit } from "../../telemetry/request-times.ts";
import { upstreamSpanId } from "../../telemetry/trace-context.ts";
import type { ProtobufWriter } from "../../wire/protobuf-writer.ts";
import { momentsOf } from "./envoy-tags.ts";
import type { SpanTag } from "./span-tags.ts";
import {
  Span_SpanKind,
  Status_StatusCode,
} from "../../wire/gen/ts/opentelemetry/proto/trace/v1/trace.ts";

const span = {
  traceId: 1,
  spanId: 2,
  parentSpanId: 4,
  name: 5,
  kind: 6,
  startTime: 7,
  endTime: 8,
  attributes: 9,
  events: 11,
  status: 15,
} as const;
const eventFields = { time: 1, name: 2 } as const;
const statusFields = { message: 2, code: 3 } as const;
const keyValue = { key: 1, value: 2 } as const;
const anyValue = { string: 1, int: 3 } as const;

/** `upstream`: the span below the request's own, where there are two. */
export type SpanRole = "server" | "client" | "upstream";

/** What configuration says of spans beside what all have. */
export interface SpanStyle {
  /** A path that is longer is cut. */
  readonly pathCharsMax: number;
  /** Spans tell when what happened. */
  readonly isVerbose: boolean;
  readonly tags: readonly SpanTag[];
  readonly operation: FormatFunction | undefined;
  /** Of spans towards upstreams. */
  readonly upstreamOperation: FormatFunction | undefined;
}

/** Adds a field with the span to the message being written. */
export function writeSpan(
  writer: ProtobufWriter,
  field: number,
  record: RequestRecord,
  { role, style }: { readonly role: SpanRole; readonly style?: SpanStyle | undefined },
): void {
  const start = writer.begin(field);
  const isUpstream = role === "upstream";
  const parent = isUpstream ? record.spanId : record.parentSpanId;
  writer.hex(span.traceId, record.traceId);
  writer.hex(span.spanId, isUpstream ? upstreamSpanId(record.spanId) : record.spanId);
  if (parent !== "") writer.hex(span.parentSpanId, parent);
  const nameOf = isUpstream ? style?.upstreamOperation : style?.operation;
  const name = nameOf?.(record) ?? "";
  writer.text(span.name, name || record.operation || `${record.method} ${record.authority}`);
  const { SPAN_KIND_SERVER, SPAN_KIND_CLIENT } = Span_SpanKind;
  writer.number(span.kind, role === "server" ? SPAN_KIND_SERVER : SPAN_KIND_CLIENT);
  const startUs = Math.round(record.startMs * 1000);
  writer.nanoseconds(span.startTime, startUs, 0);
  writer.nanoseconds(span.endTime, startUs, Math.round(record.durationMs * 1e6));
  writeAttributes(writer, record, style?.pathCharsMax);
  for (const tag of style?.tags ?? []) {
    const value = tag.valueOf(record);
    if (value !== "") text(writer, tag.name, value);
  }
  if (style?.isVerbose === true) writeEvents(writer, record);
  if (record.responseCode >= 500 || record.responseCode === 0) {
    const status = writer.begin(span.status);
    writer.text(statusFields.message, record.responseCodeDetails);
    writer.number(statusFields.code, Status_StatusCode.STATUS_CODE_ERROR);
    writer.end(status);
  }
  writer.end(start);
}

/** When what happened, for spans that are `verbose`. */
function writeEvents(writer: ProtobufWriter, record: RequestRecord): void {
  const startUs = Math.round(record.startMs * 1000);
  for (const { name, afterMs } of momentsOf(record)) {
    const event = writer.begin(span.events);
    writer.nanoseconds(eventFields.time, startUs, Math.round(afterMs * 1e6));
    writer.text(eventFields.name, name);
    writer.end(event);
  }
}

/** Unless a style says otherwise. */
const pathCharsDefault = 256;

function writeAttributes(
  writer: ProtobufWriter,
  record: RequestRecord,
  pathCharsMax = pathCharsDefault,
): void {
  const { path, protocol, upstreamHost } = record;
  const query = path.indexOf("?");
  text(writer, "http.request.method", record.method);
  text(writer, "url.path", (query < 0 ? path : path.slice(0, query)).slice(0, pathCharsMax));
  text(writer, "server.address", record.authority);
  text(
    writer,
    "network.protocol.version",
    protocol.startsWith("HTTP/") ? protocol.slice(5) : protocol,
  );
  number(writer, "http.response.status_code", record.responseCode);
  text(writer, "client.address", record.downstreamRemoteAddress.address);
  text(writer, "envoy.upstream_cluster", record.upstreamCluster);
  text(writer, "envoy.response_flags", record.responseFlags === "" ? "-" : record.responseFlags);
  text(writer, "http.request.header.x-request-id", record.requestId);
  number(writer, "http.request.body.size", record.bytesReceived);
  number(writer, "http.response.body.size", record.bytesSent);
  if (record.times !== undefined) times(writer, record.times);
  if (upstreamHost !== undefined) {
    text(writer, "network.peer.address", upstreamHost.address);
    number(writer, "network.peer.port", upstreamHost.port);
  }
}

const phaseKeys = phases.map((phase) => `heddle.time.${phase}_us`);

const split = new TimeSplit();

/** Where the time went, in microseconds. */
function times(writer: ProtobufWriter, of: RequestTimes): void {
  const parts = split.of(of);
  for (let i = 0; i < parts.length; i++) {
    const ms = parts[i] ?? Number.NaN;
    if (ms >= 0) number(writer, phaseKeys[i] ?? "", Math.round(ms * 1000));
  }
  number(writer, "heddle.time.overhead_us", Math.round(of.ownMs * 1000));
}

function text(writer: ProtobufWriter, key: string, value: string): void {
  writeAttribute(writer, span.attributes, key, value);
}

function number(writer: ProtobufWriter, key: string, value: number): void {
  writeAttribute(writer, span.attributes, key, value);
}

/** A `KeyValue`; numbers are whole. */
export function writeAttribute(
  writer: ProtobufWriter,
  field: number,
  key: string,
  value: string | number,
): void {
  const pair = writer.begin(field);
  writer.text(keyValue.key, key);
  const any = writer.begin(keyValue.value);
  if (typeof value === "number") writer.number(anyValue.int, value);
  else writer.text(anyValue.string, value);
  writer.end(any);
  writer.end(pair);
}
