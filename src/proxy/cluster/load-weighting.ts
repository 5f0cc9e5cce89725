/** Weighs the endpoints of a cluster by what they report of their load (`../engine/load-weights.ts`), now and then. */
import type { Clock, Timer } from "../../base/clock.ts";
import {
  type LoadReport,
  type LoadWeights,
  ReportedWeight,
  settleWeights,
  weightOf,
} from "../engine/load-weights.ts";
import type { LocalityMembers } from "../engine/priorities.ts";
import type { Endpoint } from "./endpoint.ts";

interface WeightingOptions {
  readonly clock: Clock;
  readonly localities: () => readonly LocalityMembers<Endpoint>[];
  /** Somebody weighs more or less than before. */
  readonly onChange: () => void;
}

export class LoadWeighting {
  readonly #rules: LoadWeights;
  readonly #options: WeightingOptions;
  readonly #reported = new WeakMap<Endpoint, ReportedWeight>();
  #timer: Timer;

  constructor(rules: LoadWeights, options: WeightingOptions) {
    this.#rules = rules;
    this.#options = options;
    this.#timer = this.#later();
  }

  hear(endpoint: Endpoint, report: LoadReport): void {
    const weight = weightOf(report, this.#rules);
    if (weight === undefined) return;
    let reported = this.#reported.get(endpoint);
    if (reported === undefined) this.#reported.set(endpoint, (reported = new ReportedWeight()));
    reported.set(weight, this.#options.clock.monotonicMs());
  }

  close(): void {
    this.#timer.cancel();
  }

  #later(): Timer {
    return this.#options.clock.schedule(this.#rules.updateMs, () => {
      this.#timer = this.#later();
      if (this.#weigh()) this.#options.onChange();
    });
  }

  /** True when anything has changed. Each priority has a middle of its own, as in Envoy. */
  #weigh(): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    let isChanged = false;
    const levels = Map.groupBy(this.#options.localities(), ({ priority }) => priority);
    for (const level of levels.values()) {
      const endpoints = level.flatMap(({ members }) => members);
      const weights = settleWeights(
        endpoints.map((one) => this.#reported.get(one)?.validAt(nowMs, this.#rules)),
      );
      for (const [i, endpoint] of endpoints.entries()) {
        const weight = weights[i] ?? endpoint.weight;
        isChanged ||= weight !== endpoint.weight;
        endpoint.weight = weight;
      }
    }
    return isChanged;
  }
}
