/**
 * Envoy's access-log filters, compiled to predicates. A filter that cannot be honoured refuses the
 * configuration: logging more or less than was asked is not an option.
 */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import {
  ComparisonFilter_Op,
  type AccessLogFilter,
  type ComparisonFilter,
  type ExtensionFilter,
  type MetadataFilter,
  type RuntimeFilter,
} from "../../wire/gen/ts/envoy/config/accesslog/v3/accesslog.ts";
import { AccessLogType } from "../../wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import { ExpressionFilter } from "../../wire/gen/ts/envoy/extensions/access_loggers/filters/cel/v3/cel.ts";
import { FractionalPercent_DenominatorType as DenominatorType } from "../../wire/gen/ts/envoy/type/v3/percent.ts";
import { compileCelFilter } from "../../telemetry/cel.ts";
import { compileHeaderMatcher } from "../engine/header-matcher.ts";
import { compileMetadataMatcher, metadataAt } from "../engine/metadata-matcher.ts";
import { refuse } from "../engine/refusal.ts";
import { compileSearch } from "./file-logger.ts";

/** `type` is what happened: one of `AccessLogType`. */
export type LogPredicate = (record: RequestRecord, type: AccessLogType) => boolean;

export function compileLogFilter(
  filter: AccessLogFilter,
  path: string,
  random: () => number,
): LogPredicate {
  const all = (filters: readonly AccessLogFilter[], name: string): LogPredicate[] =>
    filters.map((part, i) => compileLogFilter(part, `${path}.${name}.filters[${i}]`, random));
  if (filter.andFilter !== undefined) {
    const parts = all(filter.andFilter.filters, "and_filter");
    return (record, type) => parts.every((part) => part(record, type));
  }
  if (filter.orFilter !== undefined) {
    const parts = all(filter.orFilter.filters, "or_filter");
    return (record, type) => parts.some((part) => part(record, type));
  }
  if (filter.runtimeFilter !== undefined) return compileShare(filter.runtimeFilter, path, random);
  if (filter.extensionFilter !== undefined) return compileExtension(filter.extensionFilter, path);
  if (filter.logTypeFilter !== undefined) {
    const types = new Set(filter.logTypeFilter.types);
    const isListed = !filter.logTypeFilter.exclude;
    return (_record, type) => types.has(type) === isListed;
  }
  if (filter.responseFlagFilter !== undefined) {
    const flags = new Set(filter.responseFlagFilter.flags);
    if (flags.size === 0) return (record) => record.responseFlags !== "";
    return (record) => record.responseFlags.split(",").some((flag) => flags.has(flag));
  }
  if (filter.headerFilter?.header !== undefined) {
    const matches = compileHeaderMatcher(filter.headerFilter.header, `${path}.header_filter`);
    return (record) => matches((name) => record.requestHeader(name));
  }
  if (filter.statusCodeFilter !== undefined) {
    const compare = comparison(filter.statusCodeFilter.comparison, path);
    return (record) => compare(record.responseCode);
  }
  if (filter.durationFilter !== undefined) {
    const compare = comparison(filter.durationFilter.comparison, path);
    return (record) => compare(Math.floor(record.durationMs));
  }
  if (filter.grpcStatusFilter !== undefined) {
    const statuses = new Set<number>(filter.grpcStatusFilter.statuses);
    const isListed = !filter.grpcStatusFilter.exclude;
    return (record) => statuses.has(record.grpcStatus ?? 0) === isListed;
  }
  if (filter.metadataFilter !== undefined) {
    return compileMetadata(filter.metadataFilter, `${path}.metadata_filter`);
  }
  if (filter.traceableFilter !== undefined) return (record) => record.isSampled;
  // Heddle's proxy answers no health checks itself, so there is never one to leave out.
  if (filter.notHealthCheckFilter !== undefined) return () => true;
  refuse(path, "has a filter of a kind that is not supported");
}

/** Entries whose metadata has nothing at that place pass, unless the filter says otherwise. */
function compileMetadata(
  { matcher, matchIfKeyNotFound }: MetadataFilter,
  path: string,
): LogPredicate {
  const passesMissing = matchIfKeyNotFound ?? true;
  if (matcher === undefined) return () => passesMissing;
  const matches = compileMetadataMatcher(matcher, `${path}.matcher`);
  const keys = matcher.path.map(({ key = "" }) => key);
  return ({ dynamicMetadata }) =>
    metadataAt(dynamicMetadata, matcher.filter, keys) === undefined
      ? passesMissing
      : matches(dynamicMetadata);
}

/** What types of entry a filter can let through at all; undefined when it does not say. */
export function logTypesOf(filter: AccessLogFilter | undefined): ReadonlySet<number> | undefined {
  if (filter?.logTypeFilter !== undefined && !filter.logTypeFilter.exclude) {
    return new Set(filter.logTypeFilter.types);
  }
  for (const part of filter?.andFilter?.filters ?? []) {
    const types = logTypesOf(part);
    if (types !== undefined) return types;
  }
  return undefined;
}

/**
 * A share of all entries. There is no runtime, so the default is the share. Requests are drawn by
 * their id, so that every proxy on a request's way draws the same ones.
 */
function compileShare(
  { percentSampled, useIndependentRandomness }: RuntimeFilter,
  path: string,
  random: () => number,
): LogPredicate {
  // Without a share the runtime's key alone would decide, and Envoy's default for it is none.
  const numerator = percentSampled?.numerator ?? 0;
  const denominator = denominators[percentSampled?.denominator ?? DenominatorType.HUNDRED];
  if (denominator === undefined) refuse(`${path}.runtime_filter`, "has an unknown denominator");
  return ({ requestId }) => {
    const drawn = useIndependentRandomness
      ? Number.NaN
      : Number.parseInt(requestId.slice(0, 8), 16);
    const value = Number.isNaN(drawn) ? Math.floor(random() * 2 ** 32) : drawn;
    return value % denominator < numerator;
  };
}

const denominators: { readonly [type: number]: number } = {
  [DenominatorType.HUNDRED]: 100,
  [DenominatorType.TEN_THOUSAND]: 10_000,
  [DenominatorType.MILLION]: 1_000_000,
};

function compileExtension({ typedConfig, name }: ExtensionFilter, path: string): LogPredicate {
  const at = `${path}.extension_filter.typed_config`;
  const type = typedConfig?.typeUrl.split("/").at(-1) ?? "";
  if (type !== "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter") {
    refuse(at, `${type || name} is not supported`);
  }
  const { expression, celConfig } = ExpressionFilter.decode(
    typedConfig?.value ?? new Uint8Array(0),
  );
  if (celConfig !== undefined) refuse(`${at}.cel_config`, "is not supported");
  const holds = compileCelFilter(expression, (pattern) => compileSearch(pattern, at));
  return typeof holds === "string" ? refuse(`${at}.expression`, holds) : holds;
}

function comparison(filter: ComparisonFilter | undefined, path: string): (n: number) => boolean {
  const bound = filter?.value?.defaultValue;
  if (filter === undefined || bound === undefined) refuse(path, "needs a comparison with a value");
  switch (filter.op) {
    case ComparisonFilter_Op.EQ:
      return (n) => n === bound;
    case ComparisonFilter_Op.GE:
      return (n) => n >= bound;
    case ComparisonFilter_Op.LE:
      return (n) => n <= bound;
    case ComparisonFilter_Op.NE:
      return (n) => n !== bound;
    case ComparisonFilter_Op.UNRECOGNIZED:
      refuse(path, "has an unknown comparison");
  }
}
