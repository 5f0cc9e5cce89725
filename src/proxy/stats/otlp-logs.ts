/**
 * Entries of an access log as OTLP's log records: body and attributes are configured as trees whose
 * texts are formats. Pure: a queue gathers them, somebody else sends.
 */
import {
  type FormatOptions,
  type FormatPart,
  parseFormat,
} from "../../telemetry/access-log-format.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type {
  AnyValue,
  KeyValue,
  KeyValueList,
} from "../../wire/gen/ts/opentelemetry/proto/common/v1/common.ts";
import { ProtobufWriter } from "../../wire/protobuf-writer.ts";
import { refuse } from "../engine/refusal.ts";
import type { ReportEncoding } from "./report-queue.ts";
import type { SpanTag } from "./span-tags.ts";
import { writeAttribute } from "./span-writer.ts";

const request = { resourceLogs: 1 } as const;
const resourceLogs = { resource: 1, scopeLogs: 2 } as const;
const resourceFields = { attributes: 1 } as const;
const scopeLogs = { records: 2 } as const;
const recordFields = { time: 1, body: 5, attributes: 6, traceId: 9, spanId: 10 } as const;
const keyValue = { key: 1, value: 2 } as const;
const anyValue = { string: 1, list: 5, fields: 6 } as const;
const listFields = { values: 1 } as const;

/** Writes a value into a field of the message in hand. */
type ValueWriter = (writer: ProtobufWriter, field: number, record: RequestRecord) => void;

export interface OtlpLogsPlan {
  /** Undefined: entries have none. */
  readonly body: ValueWriter | undefined;
  readonly attributes: readonly { readonly key: string; readonly value: ValueWriter }[];
  readonly customTags: readonly SpanTag[];
  readonly filterStates: readonly string[];
  readonly resource: readonly (readonly [key: string, value: string])[];
}

export function compileBody(
  body: AnyValue | undefined,
  path: string,
  options: FormatOptions,
): ValueWriter | undefined {
  return body === undefined || isEmpty(body) ? undefined : compileValue(body, path, options);
}

export function compileAttributes(
  list: KeyValueList | undefined,
  path: string,
  options: FormatOptions,
): OtlpLogsPlan["attributes"] {
  return compilePairs(list?.values ?? [], path, options);
}

function isEmpty({ stringValue, arrayValue, kvlistValue, ...others }: AnyValue): boolean {
  const { boolValue, intValue, doubleValue, bytesValue, stringValueStrindex } = others;
  const numbers = [boolValue, intValue, doubleValue, bytesValue, stringValueStrindex];
  return [stringValue, arrayValue, kvlistValue, ...numbers].every((value) => value === undefined);
}

function compilePairs(
  pairs: readonly KeyValue[],
  path: string,
  options: FormatOptions,
): OtlpLogsPlan["attributes"] {
  return pairs.map(({ key, value }, i) => ({
    key,
    value: compileValue(value, `${path}.values[${i}].value`, options),
  }));
}

function compileValue(
  value: AnyValue | undefined,
  path: string,
  options: FormatOptions,
): ValueWriter {
  if (value?.stringValue !== undefined) return compileText(value.stringValue, path, options);
  if (value?.arrayValue !== undefined) {
    const items = value.arrayValue.values.map((item, i) =>
      compileValue(item, `${path}[${i}]`, options),
    );
    return (writer, field, record) => {
      const whole = writer.begin(field);
      const list = writer.begin(anyValue.list);
      for (const item of items) item(writer, listFields.values, record);
      writer.end(list);
      writer.end(whole);
    };
  }
  if (value?.kvlistValue !== undefined) {
    const pairs = compilePairs(value.kvlistValue.values, path, options);
    return (writer, field, record) => {
      const whole = writer.begin(field);
      const list = writer.begin(anyValue.fields);
      for (const pair of pairs) writePair(writer, listFields.values, pair, record);
      writer.end(list);
      writer.end(whole);
    };
  }
  // As in Envoy.
  return refuse(path, "only texts, lists and nested fields are supported");
}

function compileText(format: string, path: string, options: FormatOptions): ValueWriter {
  const { value, problems } = parseFormat(format, options);
  const parts = value ?? refuse(path, problems[0]?.message ?? "is malformed");
  return (writer, field, record) => {
    const whole = writer.begin(field);
    writer.text(anyValue.string, parts.map((part) => textOf(part, record)).join(""));
    writer.end(whole);
  };
}

function textOf(part: FormatPart, record: RequestRecord): string {
  if (typeof part === "string") return part;
  const value = part(record);
  if (value === undefined) return "-";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function writePair(
  writer: ProtobufWriter,
  field: number,
  { key, value }: OtlpLogsPlan["attributes"][number],
  record: RequestRecord,
): void {
  const pair = writer.begin(field);
  writer.text(keyValue.key, key);
  value(writer, keyValue.value, record);
  writer.end(pair);
}

function isId(text: string): boolean {
  return /^(?:[0-9a-f]{16}){1,2}$/.test(text);
}

export class OtlpLogs implements ReportEncoding<RequestRecord> {
  readonly #plan: OtlpLogsPlan;
  readonly #filling = new ProtobufWriter();

  constructor(plan: OtlpLogsPlan) {
    this.#plan = plan;
  }

  get bytes(): number {
    return this.#filling.length;
  }

  add(record: RequestRecord): number {
    const writer = this.#filling;
    const { body, attributes, customTags, filterStates } = this.#plan;
    const entry = writer.begin(scopeLogs.records);
    writer.nanoseconds(recordFields.time, Math.round(record.startMs * 1000), 0);
    body?.(writer, recordFields.body, record);
    for (const pair of attributes) writePair(writer, recordFields.attributes, pair, record);
    for (const key of filterStates) {
      const value = record.filterState?.(key);
      if (value !== undefined) {
        writeAttribute(writer, recordFields.attributes, key, JSON.stringify(value));
      }
    }
    for (const { name, valueOf } of customTags) {
      const value = valueOf(record);
      if (value !== "") writeAttribute(writer, recordFields.attributes, name, value);
    }
    // Ids of other tracers have other forms.
    if (isId(record.traceId)) writer.hex(recordFields.traceId, record.traceId.padStart(32, "0"));
    if (isId(record.spanId)) writer.hex(recordFields.spanId, record.spanId);
    writer.end(entry);
    return 1;
  }

  seal(): Uint8Array {
    const filling = this.#filling;
    const writer = new ProtobufWriter(filling.length + 1024);
    const whole = writer.begin(request.resourceLogs);
    const resource = writer.begin(resourceLogs.resource);
    for (const [key, value] of this.#plan.resource) {
      writeAttribute(writer, resourceFields.attributes, key, value);
    }
    writer.end(resource);
    const scoped = writer.begin(resourceLogs.scopeLogs);
    writer.append(filling.memory, filling.length);
    writer.end(scoped);
    writer.end(whole);
    filling.clear();
    return writer.memory.subarray(0, writer.length);
  }
}
