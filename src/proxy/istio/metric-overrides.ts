/**
 * What a configuration of `istio.stats` changes of the standard metrics: some are not counted, some
 * lose labels, and labels get values or are added by expressions in CEL over what has happened. How
 * many values a label has is bounded where all labels are (`telemetry/metrics/label-bounds.ts`).
 */
import { compileCelOperator } from "../../telemetry/cel.ts";
import type { Labels } from "../../telemetry/metrics.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { MetricConfig } from "../../wire/gen/ts/envoy/extensions/stats/config.ts";
import { refuse } from "../engine/refusal.ts";
import { compileSearch } from "../stats/file-logger.ts";

/** Values of the expressions for one record, in the order of `MetricOverrides.expressions`. */
export type OverrideValues = readonly string[];

export interface MetricOverrides {
  evaluate(record: RequestRecord): OverrideValues;
  /** Labels of one metric, which is named as its series are; undefined: it is not counted. */
  apply(metric: string, labels: Labels, values: OverrideValues): Labels | undefined;
}

/** Of all entries together: each is evaluated for every request. */
const expressionsMax = 100;
const unknown = "unknown";
/** Series' names begin so, configuration's do not. */
const prefix = "istio_";

type Expression = (record: RequestRecord) => string;

/** A label that goes, or the index of the expression that says its value. */
type LabelChange = "removed" | number;

interface MetricChange {
  isDropped: boolean;
  readonly labels: Map<string, LabelChange>;
}

/**
 * `metrics`: the names of all series there are. Later entries win. Throws a refusal; Envoy passes over
 * metrics that it does not know and expressions that it cannot parse.
 */
export function compileMetricOverrides(
  configs: readonly MetricConfig[],
  metrics: readonly string[],
  path: string,
): MetricOverrides {
  const expressions = new ExpressionList();
  const changes = new Map(metrics.map((name) => [name, emptyChange()]));
  for (const [i, config] of configs.entries()) {
    const at = `${path}[${i}]`;
    const changed = changesOf(config, changes, at);
    if (config.drop) {
      for (const change of changed) change.isDropped = true;
      continue;
    }
    for (const tag of config.tagsToRemove) {
      for (const { labels } of changed) labels.set(labelName(tag), "removed");
    }
    for (const [tag, source] of Object.entries(config.dimensions)) {
      const place = `${at}.dimensions[${tag}]`;
      const label = labelName(tag);
      if (isReserved(label)) refuse(place, "is a label that Prometheus keeps for itself");
      const index = expressions.add(source, place);
      for (const { labels } of changed) labels.set(label, index);
    }
  }
  return {
    evaluate: (record) => expressions.evaluate(record),
    apply: (metric, labels, values) => changedLabels(changes.get(metric), labels, values),
  };
}

function emptyChange(): MetricChange {
  return { isDropped: false, labels: new Map() };
}

/** Those of one metric, or of all. */
function changesOf(
  { name, drop }: MetricConfig,
  changes: ReadonlyMap<string, MetricChange>,
  path: string,
): readonly MetricChange[] {
  // As Envoy has it: all are dropped one by one, never by an entry without a name.
  if (name === "") return drop ? refuse(`${path}.drop`, "needs a name") : [...changes.values()];
  const change = changes.get(`${prefix}${name}`);
  if (change !== undefined) return [change];
  // What does not exist is not counted already.
  return drop ? [] : refuse(`${path}.name`, `'${name}' is no metric of this filter`);
}

/** As Prometheus asks, and as Envoy writes them. */
function labelName(tag: string): string {
  const name = tag.replaceAll(/[^a-zA-Z0-9_]/g, "_");
  return /^[a-zA-Z_]/.test(name) ? name : `_${name}`;
}

/** A histogram's buckets would have two `le`, and nobody could read the page. */
function isReserved(label: string): boolean {
  return label === "le" || label.startsWith("__");
}

function changedLabels(
  change: MetricChange | undefined,
  labels: Labels,
  values: OverrideValues,
): Labels | undefined {
  if (change === undefined || change.labels.size === 0) {
    return change?.isDropped === true ? undefined : labels;
  }
  if (change.isDropped) return undefined;
  const changed: Record<string, string> = {};
  for (const [name, value] of Object.entries(labels)) {
    if (!change.labels.has(name)) changed[name] = value;
  }
  for (const [name, how] of change.labels) {
    if (how !== "removed") changed[name] = values[how] ?? unknown;
  }
  return changed;
}

/** Each is evaluated once for a record, however many labels it is for. */
class ExpressionList {
  readonly #indexes = new Map<string, number>();
  readonly #expressions: Expression[] = [];

  add(source: string, path: string): number {
    const known = this.#indexes.get(source);
    if (known !== undefined) return known;
    if (this.#expressions.length >= expressionsMax) {
      refuse(path, `is one of more than ${expressionsMax} expressions`);
    }
    const operator = compileCelOperator(source, (pattern) => compileSearch(pattern, path));
    if (typeof operator === "string") return refuse(path, operator);
    const index = this.#expressions.push((record) => textOf(operator(record))) - 1;
    this.#indexes.set(source, index);
    return index;
  }

  evaluate(record: RequestRecord): OverrideValues {
    return this.#expressions.map((expression) => expression(record));
  }
}

/** CEL's operator says all it says as text. */
function textOf(value: unknown): string {
  return typeof value === "string" ? value : unknown;
}
