/**
 * Makes the series of one cluster and forgets them with it. A sidecar has some forty of each cluster that it
 * knows, so names and labels are shared as far as they are the same.
 */
import type { Counter, Gauge, Histogram, MetricRegistry } from "../../telemetry/metrics.ts";
import { standardBuckets } from "../../telemetry/standard-metrics.ts";

export type More = Readonly<Record<string, string>>;

/** Counts for a cluster that is gone. */
const nobody: Counter & Gauge & Histogram = {
  value: 0,
  add: () => {},
  set: () => {},
  record: () => {},
};

/**
 * Handles of a cluster's series, and what is to be forgotten with it: each once, however often it is
 * asked for, and nothing any more when the cluster is gone, though its last connections still end.
 */
export function makersOf(metrics: MetricRegistry, clusterName: string): ClusterMakers {
  // Frozen: the registry makes their text once for all series in a row.
  const labels = Object.freeze({ cluster_name: clusterName });
  /** Suffixes of those that have no further label: nearly all, so what they are made of is shared. */
  const plain = new Set<string>();
  const labelled = new Map<string, Entry>();
  let isGone = false;
  const named = (suffix: string, more?: More): Entry | undefined => {
    if (isGone) return undefined;
    const name = nameOf(suffix);
    if (more === undefined) {
      plain.add(suffix);
      return { name, labels };
    }
    const entry = { name, labels: { ...labels, ...more } };
    labelled.set(keyOf(suffix, more), entry);
    return entry;
  };
  const counter = (suffix: string, more?: More): Counter => {
    const entry = named(suffix, more);
    return entry === undefined ? nobody : metrics.counter(entry.name, help, entry.labels);
  };
  const gauge = (suffix: string, more?: More): Gauge => {
    const entry = named(suffix, more);
    return entry === undefined ? nobody : metrics.gauge(entry.name, help, entry.labels);
  };
  const histogram = (suffix: string): Histogram => {
    const entry = named(suffix);
    if (entry === undefined) return nobody;
    return metrics.histogram(entry.name, help, standardBuckets, entry.labels);
  };
  const forget = (suffix: string, more: More): void => {
    const key = keyOf(suffix, more);
    const entry = labelled.get(key);
    if (entry === undefined) return;
    labelled.delete(key);
    metrics.remove(entry.name, entry.labels);
  };
  const remove = (): void => {
    isGone = true;
    for (const suffix of plain) metrics.remove(nameOf(suffix), labels);
    for (const entry of labelled.values()) metrics.remove(entry.name, entry.labels);
    plain.clear();
    labelled.clear();
  };
  return { counter, gauge, histogram, forget, remove };
}

interface Entry {
  readonly name: string;
  readonly labels: More;
}

/** Suffix → name, of all clusters together: a sidecar has each of some hundred once for each cluster. */
const names = new Map<string, string>();
/** Should configuration have a say in them, more are not kept. */
const namesMax = 1024;

function nameOf(suffix: string): string {
  const known = names.get(suffix);
  if (known !== undefined) return known;
  const name = `envoy_cluster_${suffix}`;
  if (names.size < namesMax) names.set(suffix, name);
  return name;
}

function keyOf(suffix: string, more: More): string {
  return `${suffix} ${JSON.stringify(more)}`;
}

const help = "As Envoy counts it.";

/** `suffix`: what follows `envoy_cluster_`; `more`: labels beside the cluster's name. */
export interface ClusterMakers {
  readonly counter: (suffix: string, more?: More) => Counter;
  readonly gauge: (suffix: string, more?: More) => Gauge;
  readonly histogram: (suffix: string) => Histogram;
  readonly forget: (suffix: string, more: More) => void;
  /** All of them. */
  readonly remove: () => void;
}
