/** What the control thread and a data worker say to each other: plain values, in order. */
import type { AddressFamily, ResolvedName } from "../../net/resolver.ts";
import type { TicketSeed } from "../../net/io-backend.ts";
import type { TlsSecret } from "../../net/secret-source.ts";
import type { LogFields, LogLevel } from "../../telemetry/logger.ts";
import type { MetricNews } from "../../telemetry/merged-metrics.ts";
import type { PeerChange } from "../../telemetry/standard-metrics.ts";
import type { XdsResource } from "../../xds/feed.ts";
import type { EndpointLoad } from "../admin/clusters.ts";
import type { HealthNews, HealthReport } from "../cluster/cluster-health.ts";
import type { Ejection } from "../cluster/ejections.ts";
import type { DrainPlan } from "../drain.ts";
import type { TapAnswer } from "../stats/tap.ts";
import type { WorkerNode } from "./worker-node.ts";

/** What a worker is started with. */
export interface WorkerStart extends WorkerNode {
  /** From 1; the same for the one that takes its place. */
  readonly number: number;
  readonly workers: number;
  readonly life: number;
  readonly ring: SharedArrayBuffer;
  readonly descriptors: SharedArrayBuffer;
  /** What all have in flight, by cluster. */
  readonly counts: SharedArrayBuffer;
  /** Token buckets. */
  readonly buckets: SharedArrayBuffer;
  readonly socketMark: number | undefined;
  /** What session tickets of all threads are sealed with. */
  readonly tickets: TicketSeed;
  /** What the control thread finds short, in memory of both. */
  readonly overload: { readonly shared: Int32Array; readonly connectionsMax: number } | undefined;
  readonly version: string;
  readonly logLevels: ReadonlyMap<string, LogLevel>;
}

export type ToWorker =
  | {
      readonly kind: "update";
      readonly id: number;
      readonly typeUrl: string;
      readonly resources: readonly XdsResource[];
      readonly removed: readonly string[];
      readonly isInterim?: true;
      /** Of clusters: the row of each in the counts that threads share. */
      readonly rows: ReadonlyMap<string, number>;
    }
  | { readonly kind: "secret"; readonly name: string; readonly secret: TlsSecret | undefined }
  | { readonly kind: "peers"; readonly change: PeerChange }
  | { readonly kind: "resolved"; readonly id: number; readonly answer: ResolvedName | string }
  | { readonly kind: "ask"; readonly id: number; readonly what: Question }
  | { readonly kind: "tap"; readonly id: number; readonly query: string }
  | { readonly kind: "log-level"; readonly level: LogLevel; readonly area: string | undefined }
  | { readonly kind: "lines-taken"; readonly path: string }
  | { readonly kind: "drain"; readonly id: number; readonly plan: DrainPlan }
  | {
      readonly kind: "reset-slowest";
      readonly fromBytes: number;
      readonly countMax: number;
    }
  | {
      readonly kind: "collect";
      /** Code that has not run for a while, too. */
      readonly thoroughly?: { readonly flavor: "last-resort" };
    }
  | { readonly kind: "healthy"; readonly isHealthy: boolean }
  | { readonly kind: "eject"; readonly ejection: Ejection }
  | { readonly kind: "health"; readonly report: HealthReport }
  | { readonly kind: "close" };

export type Question = "metrics" | "loads";

export type FromWorker =
  | { readonly kind: "hello"; readonly eventfd: number; readonly flags: SharedArrayBuffer }
  | { readonly kind: "serving"; readonly key: string; readonly listener: number | undefined }
  | { readonly kind: "ready" }
  | { readonly kind: "ejected"; readonly ejection: Ejection }
  | { readonly kind: "health-news"; readonly news: HealthNews }
  | { readonly kind: "applied"; readonly id: number; readonly refusal: string | undefined }
  | {
      readonly kind: "resolve";
      readonly id: number;
      readonly hostname: string;
      readonly family: AddressFamily;
    }
  | { readonly kind: "lines"; readonly path: string; readonly bytes: Uint8Array }
  | {
      readonly kind: "log";
      readonly level: LogLevel;
      readonly area: string;
      readonly message: string;
      readonly fields: LogFields;
    }
  | { readonly kind: "metrics"; readonly id: number; readonly news: MetricNews | undefined }
  | { readonly kind: "loads"; readonly id: number; readonly loads: readonly EndpointLoad[] }
  | { readonly kind: "tapped"; readonly id: number; readonly answer: TapAnswer }
  | { readonly kind: "drained"; readonly id: number };
