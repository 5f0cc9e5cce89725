/**
 * What the parts of the data plane share, handed down at composition (`proxy.ts`): the HTTP layer,
 * the listeners and TCP proxying depend on these interfaces, not on each other.
 */
import type { Clock } from "../base/clock.ts";
import type { TurnEnd } from "../base/turn-end.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { ByteMeter, Channel } from "../net/channel.ts";
import type { ClientTls, DialOptions, SocketOption, TcpKeepAlive } from "../net/dialler.ts";
import type { listen } from "../net/listen.ts";
import type { Ways } from "../net/racing-dialler.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import type { RequestRecord, RequestSink } from "../telemetry/request-record.ts";
import type { HeadLimits } from "../wire/http1-head.ts";
import type { AccessLog } from "../wire/gen/ts/envoy/config/accesslog/v3/accesslog.ts";
import type { Any } from "../wire/gen/ts/google/protobuf/any.ts";
import type { Listener } from "../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { ConnectionHome } from "./connection-home.ts";
import type { DrainPlan, DrainState } from "./drain.ts";
import type { ChosenPart, HashBits } from "./engine/chooser.ts";
import type { ChoosingClient } from "./engine/client-ends.ts";
import type { Forecast } from "./engine/forecast.ts";
import type { ConnectionView } from "./engine/request.ts";
import type { PreviousPriorities } from "./engine/previous-priorities.ts";
import type { LoadReport } from "./engine/load-weights.ts";
import type { BucketMemory } from "./engine/token-bucket.ts";
import type { RouteTable } from "./engine/route-table.ts";
import type { SubsetCriteria } from "./engine/subsets.ts";
import type { WantedServer } from "./engine/wanted-server.ts";
import type { PeerCounters } from "./http2/counters.ts";
import type { LimitedPool } from "./http/pool-permit.ts";
import type { Http1Plan } from "./http/http1-plan.ts";
import type { Http2ServerSettings } from "./http2/settings.ts";
import type { FindDoor, InternalTarget, ProxyDialler } from "./internal.ts";
import type { OwnNode } from "./istio/peer-filter.ts";
import type { OverloadState } from "./overload.ts";
import type { Preparation, PreparedListener } from "./preparation.ts";
import type { EndpointStats } from "./stats/endpoint-series.ts";
import type { TrackedStats } from "./stats/tracked-series.ts";

export interface ProxyContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
  /** Uniform in [0, 1); tests hand in a fixed sequence. */
  readonly random: () => number;
  /** Keeps some requests for whoever looks. */
  readonly tap?: { onEnd(record: RequestRecord): void };
  readonly clusters: ClusterSource;
  readonly routes: RouteSource;
  /** Configurations of filters that stand under a name; absent where there are none. */
  readonly extensions?: {
    /** Grows with every change. */
    readonly version: number;
    get(name: string): Any | undefined;
  };
  readonly dialler: ProxyDialler;
  /** Finds listeners for connections inside the proxy; whoever runs listeners sets how. */
  readonly internal?: { find: FindDoor };
  /** What is gathered for many streams leaves at the end of the loop's turn; at once unless told. */
  readonly turnEnd?: TurnEnd;
  /** Nothing is ever drained unless it is there. */
  readonly drain?: DrainState;
  /** Nothing is ever short unless it is there. */
  readonly overload?: OverloadState;
  /** What the proxy tells others of the workload it stands beside, in Istio's terms. */
  readonly node?: OwnNode;
  /** Of the process: custom tags of spans and logs may name variables of it. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Other threads serve what is compiled here: nothing is prepared for requests. */
  readonly isServedElsewhere?: boolean;
  /** Token buckets that all threads share; each has its own unless told. */
  readonly buckets?: BucketMemory;
  /** Opens listening sockets; `net/listen.ts` itself unless told. */
  readonly listen?: typeof listen;
  /** Absent: datagrams are somebody else's to serve. `mark` is the SO_MARK of what is sent. */
  readonly datagrams?: { readonly mark: number | undefined; readonly capture?: DatagramCapture };
  /** Compiles the access loggers of a filter (files, statistics) into one sink. */
  readonly sinkFor: (
    loggers: readonly AccessLog[],
    statPrefix: string,
    options?: LogOptions,
  ) => RequestSink;
}

/** Brings here what is sent to an address and port that are not ours. */
export interface DatagramCapture {
  add(service: SocketAddress, port: number): Promise<void>;
  remove(service: SocketAddress, port: number): Promise<void>;
}

export interface LogOptions {
  /** Loggers that name no type of entry hear of a TCP connection when it reaches its upstream, too. */
  readonly tellsConnected?: boolean;
  /** A listener's, told of each connection once, as no type of entry. */
  readonly areListeners?: boolean;
}

export interface ClusterSource {
  /** The current version; look it up once per stream and keep it to the stream's end. */
  get(name: string): UpstreamCluster | undefined;
}

export interface RouteSource {
  /** The current table of a named route configuration (RDS). */
  get(name: string): RouteTable | undefined;
}

/** One cluster, as a stream uses it. */
export interface UpstreamCluster {
  readonly name: string;
  readonly statName: string;
  readonly connectTimeoutMs: number;
  /** Whether the kernel asks idle endpoints if they are still there. */
  readonly keepAlive?: TcpKeepAlive | undefined;
  /** What else the kernel is asked of sockets. */
  readonly socketOptions?: readonly SocketOption[] | undefined;
  /** What may wait to be sent to one endpoint before whoever writes must stop. */
  readonly writeQueueBytesMax?: number | undefined;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  /** Limits on the connections kept to one endpoint; 0 means none. */
  readonly maxRequestsPerConnection: number;
  readonly idleTimeoutMs: number;
  /** A connection older than this takes no more requests; 0 or absent means any age. */
  readonly maxConnectionDurationMs?: number | undefined;
  /** How long one request and its answer may be under way together; 0 or absent means any time. */
  readonly maxStreamDurationMs?: number | undefined;
  /** Of answers. */
  readonly headLimits?: HeadLimits | undefined;
  /** From 0 to 1: so many requests are turned away, as the control plane asks. */
  readonly dropShare?: number | undefined;
  /** Undefined when no endpoint is fit. `ORIGINAL_DST` clusters use the destination, forward proxies the authority. */
  pick(choice: EndpointChoice): UpstreamEndpoint | undefined;
  /** Whether who keeps to an endpoint that was picked had better go on there; absent: always. */
  readonly isWell?: ((endpoint: UpstreamEndpoint) => boolean) | undefined;
  /** Of an aggregate: the cluster to be asked instead, of which part it says in `choice`. */
  readonly memberFor?: ((choice: EndpointChoice) => UpstreamCluster | undefined) | undefined;
  /** Where HTTP/2 is spoken; HTTP/1.1 otherwise. */
  readonly http2?: UpstreamHttp2 | undefined;
  /** What is asked of HTTP/1.1 beyond the usual. */
  readonly http1?: Http1Plan | undefined;
  readonly limits: CircuitBreakers;
  readonly counters: ClusterCounters;
  /** By its headers, `:status` among them; absent: by its status as usual. */
  readonly isErrorAnswer?: ((header: (name: string) => string | undefined) => boolean) | undefined;
  /** Connections for each request that an endpoint has, more than 1; absent: as many as are needed. */
  readonly preconnectRatio?: number | undefined;
  /** Whether further ones are wanted where requests to come will go. */
  readonly forecast?: Forecast<UpstreamEndpoint> | undefined;
  /** Told of each request and attempt, where the cluster wants that. */
  readonly tracked?: TrackedStats | undefined;
  /** The same cluster for requests of priority HIGH. */
  readonly high?: UpstreamCluster;
  /** It is that. */
  readonly isHigh?: boolean;
}

export interface UpstreamHttp2 {
  /** `downstream`: for requests that came so. `agreed`: on connections that have agreed on it by ALPN. */
  readonly when: "always" | "downstream" | "agreed";
  readonly settings: Http2ServerSettings;
  readonly counters: PeerCounters;
}

export interface EndpointChoice {
  readonly connection: ConnectionView;
  /** Hash of the route's hash policy, when it has one. */
  readonly hash: HashBits | undefined;
  /** Endpoints that are not wanted, if there is another: those of earlier attempts, canaries. */
  readonly avoid: ((endpoint: UpstreamEndpoint) => boolean) | undefined;
  /** Priorities that the request's earlier attempts have been to, where they count. */
  readonly priorities?: PreviousPriorities | undefined;
  /** How often another is drawn when one to avoid came; 5 unless told. */
  readonly redrawsMax?: number;
  /** Of the request, where there is one. */
  readonly authority?: string;
  /** What it says of the server that it wants, for clusters that heed that. */
  readonly wanted?: WantedServer | undefined;
  /** Whom it is made for, where that is somebody, for clusters that tell; asked when they do. */
  readonly client?: ChoosingClient;
  /** An endpoint that is taken instead, if it is there and its health allows it (`address:port`). */
  readonly override?: EndpointOverride | undefined;
  /** Metadata that endpoints must have, where the cluster has subsets. */
  readonly criteria?: SubsetCriteria | undefined;
  /** Where the cluster is asked as a member of an aggregate, which sets it. */
  part?: ClusterPart | undefined;
}

/** Of a member of an aggregate. */
export interface ClusterPart extends ChosenPart {
  /** Of that priority, among all of the aggregate. */
  readonly place: number;
  /** The aggregate's. */
  readonly counters: ClusterCounters;
}

export interface EndpointOverride {
  readonly host: string;
  /** No other will do. */
  readonly isStrict: boolean;
}

/** One address of a cluster. Identity (===) is kept while the endpoint stays, across updates. */
export interface UpstreamEndpoint {
  readonly address: SocketAddress;
  readonly hostname: string;
  /** The one it belongs to, 0 first. */
  readonly priority?: number;
  readonly metadata: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Of one that stands for another under a name: the other. */
  readonly origin?: UpstreamEndpoint;
  /** How to speak TLS to it; undefined for plaintext. Fixed when the endpoint is made. */
  readonly tls: ClientTls | undefined;
  /** Local address (no port) to connect from, where its cluster says so. */
  readonly sourceAddress?: string | undefined;
  /** More than one address leads to it; instead of `address` and `sourceAddress`. */
  readonly ways?: Ways | undefined;
  /** It is a listener of this proxy, and no address. */
  readonly internal?: InternalTarget | undefined;
  /** Sent before all else on each connection to it. */
  readonly preface?: DialOptions["preface"];
  /** Requests (or TCP connections) in flight, for least-request; the user increments and decrements. */
  active: number;
  /** Connections of this thread to it, of any kind; whoever opens and closes them counts. */
  connections?: number;
  /** Counted by itself, where its cluster wants that. */
  readonly stats?: EndpointStats | undefined;
  /** Feeds outlier detection. */
  report(outcome: UpstreamOutcome): void;
  /** Where endpoints are checked: it has told a request that it is not well. */
  readonly suspect?: (() => void) | undefined;
  /** Where they are weighed by that: an answer says how busy it is. */
  readonly onLoadReport?: ((report: LoadReport) => void) | undefined;
  /** No new streams come here: connections to it close as soon as they are idle. */
  readonly isRemoved?: boolean;
  /** Set by whoever keeps connections to it; called once when it is removed. */
  onRemoved?: (() => void) | undefined;
  /** The same; called when its connections are to be replaced, though it stays. */
  onDrained?: (() => void) | undefined;
}

export type UpstreamOutcome =
  | { readonly kind: "response"; readonly status: number; readonly durationMs: number }
  | { readonly kind: "connect-failure" | "reset" | "timeout" };

/** Counted tries: each returns false, and counts the overflow, when its limit is reached. */
export interface CircuitBreakers {
  /** `to`: counted by itself, too, where the cluster limits connections to one endpoint. */
  tryConnection(to?: UpstreamEndpoint): boolean;
  releaseConnection(): void;
  tryPending(): boolean;
  releasePending(): void;
  tryRequest(): boolean;
  releaseRequest(): void;
  tryRetry(): boolean;
  releaseRetry(): void;
  /** Of pools with connections, or requests that wait for one; absent where there may be any number. */
  readonly pools?: { try(pool: LimitedPool): boolean; release(pool: LimitedPool): void };
}

/** Envoy's per-cluster series; implemented where metrics live, incremented where things happen. */
export interface ClusterCounters {
  /** Of its connections, for those that carry their own. */
  readonly meter: ByteMeter;
  onConnectionOpened(): void;
  /** It stands, this many milliseconds later. */
  onConnected(tookMs: number): void;
  /** It is over, also where it never stood. */
  onConnectionClosed(end: UpstreamConnectionEnd): void;
  onConnectFailure(): void;
  /** What has no word of its own here. */
  count(event: ClusterEvent): void;
  /** Also the time series `upstream_rq_time`, in milliseconds. */
  onResponse(status: number, durationMs: number): void;
  /** An answer that nobody gets, for the request is tried again. */
  onRetriedResponse(status: number): void;
  /** The proxy answered with this status, for lack of an answer; or an answer began a tunnel. */
  onUntimedResponse(status: number): void;
  /** For connections that are not shared: one waits for, or has, an endpoint. */
  changeActive(gauge: "upstream_rq_active" | "upstream_rq_pending_active", change: 1 | -1): void;
  onRetry(): void;
  onRetrySuccess(): void;
  onRetryOverflow(): void;
  /** Of whole requests: so many attempts were in flight. */
  onTimeout(attempts: number): void;
  /** Of one attempt; `isIdle`: it said nothing for too long. */
  onTryTimeout(isIdle: boolean): void;
  /** An answer that redirects was followed, or was passed on though its route would have it followed. */
  onRedirect(isFollowed: boolean): void;
  /** An answer that is counted under another name, too, as its request asked. */
  onNamedResponse(name: string, status: number, durationMs: number): void;
}

export interface UpstreamConnectionEnd {
  readonly lengthMs: number;
  readonly by: "local" | "remote";
  /** Somebody's request was on it, and had not ended. */
  readonly isBusy: boolean;
}

/** Envoy's names of counters that most clusters never need. */
export type ClusterEvent =
  | "bind_errors"
  | "upstream_cx_connect_attempts_exceeded"
  | "upstream_cx_connect_timeout"
  | "upstream_cx_http1_total"
  | "upstream_cx_idle_timeout"
  | "upstream_cx_max_duration_reached"
  | "upstream_cx_max_requests"
  | "upstream_cx_none_healthy"
  | "upstream_cx_protocol_error"
  | "upstream_rq_cancelled"
  | "upstream_rq_max_duration_reached"
  | "upstream_rq_pending_failure_eject"
  | "upstream_rq_pending_total"
  | "upstream_rq_retry_limit_exceeded"
  | "upstream_rq_rx_reset"
  | "upstream_rq_total"
  | "upstream_rq_tx_reset";

/** A network filter that ends a chain (HTTP, TCP proxy): takes over an accepted connection. */
export interface ConnectionFactory {
  /** Undefined: there is nothing to prepare. */
  readonly preparation?: Preparation | undefined;
  /**
   * `first` are bytes already read while inspecting; the factory sets `channel.handler`. `home` is
   * asked once the factory was retired.
   */
  accept(
    channel: Channel,
    connection: ConnectionView,
    ...[first, home]: [first: Buffer | undefined, home: ConnectionHome]
  ): void;
  /** Closes connections that carry no request and have not since `sinceMs` (monotonic). */
  closeIdle(sinceMs: number): void;
  /**
   * Another configuration has taken its place: what is in flight ends under the old one, but no
   * request begins under it any more. Connections stay open and go where they belong now.
   */
  retire(): void;
  /** After `retire()`: connections between two requests go where they belong, if that is anywhere. */
  moveIdle(): void;
}

/**
 * Runs listeners (`listener.ts`: `createListenerSet({ context, secrets })`). Configuration calls
 * `prepare` when a resource arrives and `start` once the routes and secrets it names are there.
 */
export interface ListenerSet {
  /** Compiles without opening anything; throws a refusal. Inline routes are compiled already. */
  prepare(listener: Listener): PreparedListener;
  /** Stops accepting; connections drain. */
  remove(name: string): void;
  /** Throws a refusal for what no HTTP filter can be made of. */
  checkFilter(config: Any): void;
  /** What is listened on now. */
  bound(): readonly { readonly name: string; readonly address: SocketAddress }[];
  /** Resolves when no connection is left and none comes any more. A second call changes the plan. */
  drain(plan: DrainPlan): Promise<void>;
  /** Resets connections with at least so much to send, those with the most first. */
  resetSlowest(fromBytes: number, countMax: number): void;
  /** Ends everything at once. */
  close(): Promise<void>;
}
