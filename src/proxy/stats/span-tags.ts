/** Custom tags of spans, and what spans are called, as a connection manager's tracing says. */
import { compileTagFormat, type FormatFunction } from "../../telemetry/access-log-format.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import {
  type CustomTag,
  type CustomTag_Metadata as MetadataTag,
  CustomTag_ValueType as ValueType,
} from "../../wire/gen/ts/envoy/type/tracing/v3/custom_tag.ts";
import { metadataAt } from "../engine/metadata-matcher.ts";
import { refuse } from "../engine/refusal.ts";
import { lowerAscii } from "../engine/text-test.ts";

export interface SpanTag {
  readonly name: string;
  /** Nothing is written where it is empty. */
  readonly valueOf: FormatFunction;
}

/** `environment`: of this process, by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

export function compileTags(
  tags: readonly CustomTag[],
  path: string,
  environment: Environment = {},
): readonly SpanTag[] {
  return tags.map((tag, i) => {
    const place = `${path}[${i}]`;
    if (tag.tag === "") refuse(`${place}.tag`, "is required");
    return { name: tag.tag, valueOf: compileValue(tag, place, environment) };
  });
}

/** A name of spans; where it is empty they have their usual one. */
export function compileOperation(format: string, path: string): FormatFunction | undefined {
  return format === "" ? undefined : compileFormat(format, path);
}

function compileValue(tag: CustomTag, path: string, environment: Environment): FormatFunction {
  const { literal, requestHeader, metadata, value } = tag;
  if (tag.valueType !== ValueType.UNSPECIFIED) refuse(`${path}.value_type`, "is not supported");
  if (tag.environment !== undefined) {
    const { name, defaultValue } = tag.environment;
    const given = Object.hasOwn(environment, name) ? environment[name] : undefined;
    return () => given ?? defaultValue;
  }
  if (literal !== undefined) return () => literal.value;
  if (requestHeader !== undefined) {
    const name = lowerAscii(requestHeader.name);
    return (record) => record.requestHeader(name) ?? requestHeader.defaultValue;
  }
  if (metadata !== undefined) return compileMetadata(metadata, `${path}.metadata`);
  if (value !== undefined) return compileFormat(value, `${path}.value`);
  return refuse(path, "names no value");
}

function compileFormat(format: string, path: string): FormatFunction {
  const { value, problems } = compileTagFormat(format);
  return value ?? refuse(path, problems[0]?.message ?? "is malformed");
}

function compileMetadata(tag: MetadataTag, path: string): FormatFunction {
  const { kind, metadataKey, defaultValue } = tag;
  const filter = metadataKey?.key ?? "";
  if (filter === "") refuse(`${path}.metadata_key.key`, "is required");
  const keys = (metadataKey?.path ?? []).map(({ key = "" }) => key);
  const { request, route, cluster, host } = kind ?? {};
  if ([request, route, cluster, host].every((one) => one === undefined)) {
    refuse(`${path}.kind`, "is required");
  }
  const find = (record: RequestRecord): unknown => {
    if (request !== undefined) return metadataAt(record.dynamicMetadata, filter, keys);
    const { upstreamMetadata, clusterMetadata, routeMetadata } = record;
    const ofUpstream = cluster === undefined ? upstreamMetadata : clusterMetadata;
    const of = route === undefined ? ofUpstream : routeMetadata;
    return metadataAt(new Map(Object.entries(of ?? {}).map(asFields)), filter, keys);
  };
  return (record) => textOf(find(record)) ?? defaultValue;
}

function asFields([name, value]: [string, unknown]): [string, Readonly<Record<string, unknown>>] {
  return [name, typeof value === "object" && value !== null ? { ...value } : {}];
}

function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? undefined : JSON.stringify(value);
}
