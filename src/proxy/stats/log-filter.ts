/**
 * Envoy's access-log filters, compiled to predicates. A filter that cannot be honoured refuses the
 * configuration: logging more or less than was asked is not an option.
 */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import {
  ComparisonFilter_Op,
  type AccessLogFilter,
  type ComparisonFilter,
} from "../../wire/gen/ts/envoy/config/accesslog/v3/accesslog.ts";
import { AccessLogType } from "../../wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import { compileHeaderMatcher } from "../engine/header-matcher.ts";
import { refuse } from "../engine/refusal.ts";

/** `type` is what happened: one of `AccessLogType`. */
export type LogPredicate = (record: RequestRecord, type: AccessLogType) => boolean;

export function compileLogFilter(filter: AccessLogFilter, path: string): LogPredicate {
  if (filter.andFilter !== undefined) {
    const parts = compileAll(filter.andFilter.filters, `${path}.and_filter`);
    return (record, type) => parts.every((part) => part(record, type));
  }
  if (filter.orFilter !== undefined) {
    const parts = compileAll(filter.orFilter.filters, `${path}.or_filter`);
    return (record, type) => parts.some((part) => part(record, type));
  }
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
  if (filter.traceableFilter !== undefined) return (record) => record.isSampled;
  // Heddle's proxy answers no health checks itself, so there is never one to leave out.
  if (filter.notHealthCheckFilter !== undefined) return () => true;
  refuse(path, "has a filter of a kind that is not supported");
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

function compileAll(filters: readonly AccessLogFilter[], path: string): LogPredicate[] {
  return filters.map((filter, i) => compileLogFilter(filter, `${path}.filters[${i}]`));
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
