/**
 * What all the checks of a cluster have found: an endpoint is as well as the one says that thinks least
 * of it. Each has its own thresholds, connections, events and series.
 */
import type { Gauge } from "../../telemetry/metrics.ts";
import { healthFlag } from "../engine/health-check.ts";
import type { HealthSeries } from "../stats/health-series.ts";
import type { ClusterHealth, HealthMember } from "./cluster-health.ts";
import { type CheckerOptions, HealthChecker } from "./health-checker.ts";
import type { HealthPlan } from "./health-plan.ts";

export interface CombinedOptions extends Omit<CheckerOptions, "plan" | "ignoresNew" | "series"> {
  readonly plan: HealthPlan;
  readonly seriesOf: (check: string) => HealthSeries;
  /** Endpoints by what all checks together say; where there are several. */
  readonly gauges: () => { readonly healthy: Gauge; readonly degraded: Gauge };
}

export class CombinedHealth implements ClusterHealth {
  readonly #checkers: readonly HealthChecker[];
  readonly #gauges: ReturnType<CombinedOptions["gauges"]> | undefined;
  #members: ReadonlyMap<string, HealthMember> = new Map();
  /** What the gauges hold of this version: others of the cluster have their part in them. */
  #counted = { healthy: 0, degraded: 0 };

  constructor(options: CombinedOptions) {
    const { plan, seriesOf, onChange, onPassed } = options;
    const { ignoresNew, checks } = plan;
    if (checks.length > 1) this.#gauges = options.gauges();
    this.#checkers = checks.map(
      (check) =>
        new HealthChecker({
          ...options,
          plan: check,
          ignoresNew,
          series: seriesOf(check.name),
          onChange: (key) => {
            this.#count();
            onChange(key, this.flagsOf(key));
          },
          onPassed: (key) => {
            if ((this.flagsOf(key) & healthFlag.failed) === 0) onPassed(key);
          },
        }),
    );
  }

  get isKnown(): boolean {
    return this.#checkers.every(({ isKnown }) => isKnown);
  }

  flagsOf(key: string): number {
    let flags = 0;
    for (const checker of this.#checkers) flags |= checker.flagsOf(key);
    return flags;
  }

  setMembers(members: ReadonlyMap<string, HealthMember>): void {
    this.#members = members;
    for (const checker of this.#checkers) checker.setMembers(members);
    this.#count();
  }

  suspect(key: string): void {
    for (const checker of this.#checkers) checker.suspect(key);
  }

  close(): void {
    for (const checker of this.#checkers) checker.close();
    this.#members = new Map();
    this.#count();
  }

  #count(): void {
    if (this.#gauges === undefined) return;
    const all = [...this.#members.keys()].map((key) => this.flagsOf(key));
    const healthy = all.filter((flags) => (flags & healthFlag.failed) === 0).length;
    const degraded = all.filter((flags) => (flags & healthFlag.degraded) !== 0).length;
    this.#gauges.healthy.add(healthy - this.#counted.healthy);
    this.#gauges.degraded.add(degraded - this.#counted.degraded);
    this.#counted = { healthy, degraded };
  }
}
