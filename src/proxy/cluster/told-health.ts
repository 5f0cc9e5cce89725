/** A cluster's health in a thread that does not check: what the one that does has told. */
import { healthFlag } from "../engine/health-check.ts";
import type { ClusterHealth, HealthMember, HealthReport } from "./cluster-health.ts";

/** By name of the cluster; kept also for clusters that are yet to come. */
export class ToldHealth {
  readonly #flags = new Map<string, Map<string, number>>();

  take({ cluster, flags, isWhole }: HealthReport): void {
    if (isWhole && flags.size === 0) {
      this.#flags.delete(cluster);
      return;
    }
    const known = isWhole ? undefined : this.#flags.get(cluster);
    if (known === undefined) this.#flags.set(cluster, new Map(flags));
    else for (const [key, each] of flags) known.set(key, each);
  }

  flagsOf(cluster: string, key: string): number | undefined {
    return this.#flags.get(cluster)?.get(key);
  }
}

export class ToldClusterHealth implements ClusterHealth {
  readonly #cluster: string;
  readonly #told: ToldHealth;
  readonly #onSuspect: (key: string) => void;
  readonly #unknown: number;
  #members: ReadonlyMap<string, HealthMember> = new Map();

  constructor(
    cluster: string,
    told: ToldHealth,
    options: { readonly ignoresNew: boolean; readonly onSuspect: (key: string) => void },
  ) {
    this.#cluster = cluster;
    this.#told = told;
    this.#onSuspect = options.onSuspect;
    this.#unknown = healthFlag.failed | (options.ignoresNew ? healthFlag.pending : 0);
  }

  get isKnown(): boolean {
    for (const key of this.#members.keys()) {
      if (this.#told.flagsOf(this.#cluster, key) === undefined) return false;
    }
    return true;
  }

  flagsOf(key: string): number {
    if (!this.#members.has(key)) return 0;
    return this.#told.flagsOf(this.#cluster, key) ?? this.#unknown;
  }

  setMembers(members: ReadonlyMap<string, HealthMember>): void {
    this.#members = members;
  }

  suspect(key: string): void {
    this.#onSuspect(key);
  }

  close(): void {}
}
