/**
 * The console's HTTP API: what each path answers, shared by the server, the browser application and
 * the command line. Types only, so that the browser loads none of the server. Times are milliseconds
 * since the epoch, rates are per second, fractions are 0 to 1.
 *
 * | path | answer |
 * |---|---|
 * | GET /api/status | `StatusAnswer` |
 * | GET /api/graph?window=60s | `GraphAnswer` |
 * | GET /api/services?window=60s | `ServiceSummary[]` |
 * | GET /api/services/:namespace/:name?window=15m | `ServiceAnswer` |
 * | GET /api/workloads | `WorkloadSummary[]` |
 * | GET /api/proxies | `ProxyStatus[]` |
 * | GET /api/proxies/:proxy/config_dump, clusters, listeners, stats, metrics, certs, logging, memory, tap | what the proxy's own admin interface says |
 * | POST /api/proxies/:proxy/logging?level=… | same, after the change |
 * | GET /api/config?kind=&namespace=&name= | `ConfigAnswer` |
 * | POST /api/config/validate, apply, delete, wait | `ApplyOutcome`, `WaitOutcome` |
 * | GET /api/logs/:workload?lines=200&stream=app | text, oldest first |
 * | GET /api/logs/:workload/follow?lines=200&stream=app, or ?position= | `LogPiece` |
 * | GET /api/events | server-sent events: `ConsoleEvent` by name |
 *
 * `:proxy` is `<instance>.<namespace>`. Errors are `ErrorAnswer` with a 4xx or 5xx status. Over TCP
 * every path needs `authorization: Bearer TOKEN` (`security.ts`); the Unix socket is its owner's and
 * needs none. `/api/v1/…` is Prometheus's query API over the same metrics.
 */
import type { Problem, ResourceRef } from "../base/problem.ts";
import type {
  ApplyOutcome,
  AuthorityStatus,
  ConfigResource,
  ProxyStatus,
  WaitOutcome,
} from "../control/control-view.ts";
import type { InstanceState } from "../model/workload.ts";

export type {
  ApplyOutcome,
  AuthorityStatus,
  ConfigResource,
  Problem,
  ProxyStatus,
  ResourceRef,
  WaitOutcome,
};

/** From best to worst; `idle` is known but without traffic in the window. */
export type Health = "idle" | "healthy" | "degraded" | "failing";

/** Ended lines of a log, and where the next ones begin. */
export interface LogPiece {
  readonly text: string;
  readonly position: string;
}

export interface ErrorAnswer {
  /** Stable: `console.not-found`, `promql.parse`. */
  readonly code: string;
  readonly message: string;
}

/** What some requests (or connections) did in a window. */
export interface Traffic {
  readonly requestsPerSecond: number;
  /** Requests answered 5xx, by a gRPC error, or not at all, of all requests; 0 without requests. */
  readonly errorFraction: number;
  /** Undefined where nothing was measured. */
  readonly p50Ms: number | undefined;
  readonly p95Ms: number | undefined;
  readonly p99Ms: number | undefined;
  readonly tcpSentBytesPerSecond: number;
  readonly tcpReceivedBytesPerSecond: number;
  /** Of gRPC, counted when a call ends: what callers have sent, and what they have got. */
  readonly requestMessagesPerSecond: number;
  readonly responseMessagesPerSecond: number;
}

export interface StatusAnswer {
  readonly mesh: string;
  readonly version: string;
  readonly atMs: number;
  /** Where browsers find the console; undefined while nobody listens. */
  readonly console: { readonly address: string; readonly port: number } | undefined;
  readonly health: Health;
  /** The mesh in one line: `9 of 10 services healthy, 120 req/s, 0.4% errors, 40 gRPC messages/s`. */
  readonly sentence: string;
  readonly traffic: Traffic;
  readonly services: { readonly total: number; readonly healthy: number };
  readonly workloads: { readonly total: number; readonly ready: number };
  readonly proxies: {
    readonly total: number;
    readonly synced: number;
    readonly refused: number;
    readonly disconnected: number;
  };
  readonly problems: { readonly errors: number; readonly warnings: number };
  /** Of the traffic between workloads that said; undefined without any. */
  readonly mtlsFraction: number | undefined;
  readonly authority: AuthorityStatus;
  readonly metrics: MetricsHealth;
  /** What this way of running cannot enforce, a sentence each. */
  readonly limitations: readonly string[];
}

/** Whether the figures can be trusted. */
export interface MetricsHealth {
  /** `embedded`, or the address of an external Prometheus. */
  readonly source: string;
  readonly targets: number;
  readonly targetsUp: number;
  readonly series: number;
  /** Series left out because a limit was reached. */
  readonly droppedSeries: number;
  /** Age of the oldest of the last scrapes; undefined before the first. */
  readonly staleMs: number | undefined;
  /** Why there are no figures at all; absent while the source answers. */
  readonly failure?: string;
  /** Why sidecars could not be measured, by the address asked. */
  readonly failures: Readonly<Record<string, string>>;
}

export interface GraphAnswer {
  readonly atMs: number;
  readonly windowMs: number;
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
  /** Why there is nothing to see, and what to do about it; absent when there is. */
  readonly emptyReason?: string;
}

export type NodeKind = "workload" | "gateway" | "service" | "external" | "unknown";

export interface GraphNode {
  /** `workload/default/cart`, `external//api.example.com`. Stable. */
  readonly id: string;
  readonly kind: NodeKind;
  readonly name: string;
  readonly namespace: string;
  /** The service it belongs to, when it is one's workload. */
  readonly service: string | undefined;
  readonly version: string | undefined;
  readonly health: Health;
  /** Inbound traffic; a gateway's or load generator's own when nothing comes in. */
  readonly traffic: Traffic;
  readonly instances: { readonly total: number; readonly ready: number } | undefined;
}

export interface GraphEdge {
  readonly id: string;
  readonly source: string;
  readonly target: string;
  readonly protocol: "http" | "grpc" | "tcp" | "udp";
  readonly traffic: Traffic;
  readonly health: Health;
  readonly mtls: MtlsState;
  /** SPIFFE ids the certificates named, when there were any. */
  readonly sourcePrincipals: readonly string[];
  readonly destinationPrincipals: readonly string[];
  /** Requests per second by response code; `0` where no answer came. */
  readonly codes: Readonly<Record<string, number>>;
  /** Requests per second by Envoy's response flags, without the unflagged. */
  readonly flags: Readonly<Record<string, number>>;
}

export type MtlsState = "mutual" | "plaintext" | "mixed" | "unknown";

export interface ServiceSummary {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly addresses: readonly string[];
  readonly ports: readonly {
    readonly name: string;
    readonly port: number;
    readonly protocol: string;
  }[];
  readonly instances: { readonly total: number; readonly ready: number };
  readonly traffic: Traffic;
  readonly health: Health;
  readonly mtls: MtlsState;
}

export interface ServiceAnswer {
  readonly summary: ServiceSummary;
  readonly windowMs: number;
  readonly stepMs: number;
  readonly charts: readonly Chart[];
  readonly inbound: readonly GraphEdge[];
  readonly outbound: readonly GraphEdge[];
  readonly nodes: readonly GraphNode[];
  readonly workloads: readonly WorkloadSummary[];
}

/** Lines over one time axis. */
export interface Chart {
  readonly title: string;
  readonly unit: "req/s" | "%" | "ms" | "B/s" | "msg/s";
  /** PromQL, so that every picture can be asked again elsewhere. */
  readonly query: string;
  readonly timesMs: readonly number[];
  readonly lines: readonly {
    readonly label: string;
    readonly values: readonly (number | null)[];
  }[];
}

export interface WorkloadSummary {
  /** `cart-0`. */
  readonly instance: string;
  readonly workload: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly role: "workload" | "gateway";
  readonly version: string | undefined;
  readonly addresses: readonly string[];
  readonly state: InstanceState;
  readonly detail: string | undefined;
  readonly restarts: number;
  readonly dataPlane: "heddle" | "envoy";
  readonly capture: "transparent" | "explicit" | "gateway";
  readonly sidecarPorts: { readonly outbound: number; readonly inbound: number };
}

export interface ConfigAnswer {
  readonly resources: readonly ConfigResource[];
  /** Of everything, errors first; not only of the resources asked for. */
  readonly problems: readonly Problem[];
}

/** POST /api/config/validate and /api/config/apply. */
export interface ApplyRequest {
  readonly yaml: string;
  readonly dryRun?: boolean;
  readonly namespace?: string;
  /** How problems call the text. */
  readonly file?: string;
}

export interface DeleteRequest {
  readonly ref: ResourceRef;
}

export interface WaitRequest {
  readonly refs: readonly ResourceRef[];
  readonly timeoutMs: number;
  readonly generation?: number;
}

/** Server-sent events: `event:` is the kind, `data:` the JSON of `value`. */
export type ConsoleEvent =
  | { readonly kind: "status"; readonly value: StatusAnswer }
  | { readonly kind: "graph"; readonly value: GraphAnswer }
  | { readonly kind: "services"; readonly value: readonly ServiceSummary[] }
  | { readonly kind: "proxies"; readonly value: readonly ProxyStatus[] }
  | { readonly kind: "config"; readonly value: ConfigAnswer };
