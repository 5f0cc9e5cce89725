/**
 * How many values a label of one metric may have, and how long they may be: what clients send must
 * not grow a proxy's memory. A value too many reads `overflow`, a value too long is cut; whoever asks
 * counts both.
 */
import type { Labels } from "../metrics.ts";

export const overflow = "overflow";

export interface LabelLimits {
  /** Distinct values of one label among the series there are. */
  readonly valuesMax: number;
  /** UTF-16 units of a value. */
  readonly charsMax: number;
}

export interface BoundedLabels {
  readonly labels: Labels;
  /** Labels whose value was one too many. */
  readonly folded: readonly string[];
  /** Labels whose value was cut. */
  readonly cut: readonly string[];
}

const none: readonly string[] = [];

export class LabelBounds {
  readonly #limits: LabelLimits;
  /** Label → value → how many series have it. */
  readonly #values = new Map<string, Map<string, number>>();

  constructor(limits: LabelLimits) {
    this.#limits = limits;
  }

  bound(labels: Labels): BoundedLabels {
    const { valuesMax } = this.#limits;
    const { labels: short, cut } = this.shorten(labels);
    let folded: string[] | undefined;
    const bounded: Record<string, string> = {};
    for (const [name, value] of Object.entries(short)) {
      const values = this.#values.get(name);
      const isTooMany = values !== undefined && values.size >= valuesMax && !values.has(value);
      bounded[name] = isTooMany ? overflow : value;
      if (isTooMany) (folded ??= []).push(name);
    }
    return { labels: folded === undefined ? short : bounded, folded: folded ?? none, cut };
  }

  /** Only cuts. */
  shorten(labels: Labels): Omit<BoundedLabels, "folded"> {
    const { charsMax } = this.#limits;
    const cut = Object.keys(labels).filter((name) => (labels[name]?.length ?? 0) > charsMax);
    if (cut.length === 0) return { labels, cut: none };
    const short = Object.fromEntries(
      Object.entries(labels).map(([name, value]) => [name, value.slice(0, charsMax)]),
    );
    return { labels: short, cut };
  }

  /** A series with these labels is there now. */
  hold(labels: Labels): void {
    for (const [name, value] of Object.entries(labels)) {
      const values = this.#values.get(name) ?? new Map<string, number>();
      values.set(value, (values.get(value) ?? 0) + 1);
      this.#values.set(name, values);
    }
  }

  /** It is gone: its values make room. */
  release(labels: Labels): void {
    for (const [name, value] of Object.entries(labels)) {
      const values = this.#values.get(name);
      const left = (values?.get(value) ?? 0) - 1;
      if (left > 0) values?.set(value, left);
      else values?.delete(value);
    }
  }
}
