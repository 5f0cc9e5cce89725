/** What active health checks have found of a cluster's endpoints, whoever has checked. */
import type { EventSubject } from "./health-events.ts";
import type { ProbeTarget } from "./health-probe.ts";

export interface HealthMember extends EventSubject {
  readonly target: ProbeTarget;
  /** One name with one endpoint: it stays itself where its address changes. */
  readonly isSameAnywhere: boolean;
}

/** Endpoints go by a key that all threads give them alike. */
export interface ClusterHealth {
  /** Every endpoint has been checked, well or not. */
  readonly isKnown: boolean;
  /** Of `healthFlag`; 0 for one that is well, and for one that is not to be checked. */
  flagsOf(key: string): number;
  /** Those to be checked. */
  setMembers(members: ReadonlyMap<string, HealthMember>): void;
  /** It has told a request that it is not well. */
  suspect(key: string): void;
  close(): void;
}

/** What one thread tells the others. */
export interface HealthReport {
  readonly cluster: string;
  /** By endpoint: all of them, or those that have changed. */
  readonly flags: ReadonlyMap<string, number>;
  readonly isWhole: boolean;
  /** Endpoints that are not ejected any more. */
  readonly returned: readonly string[];
}

/** What threads that serve tell the one that checks. */
export type HealthNews =
  | { readonly kind: "traffic"; readonly cluster: string }
  | { readonly kind: "suspect"; readonly cluster: string; readonly endpoint: string };
