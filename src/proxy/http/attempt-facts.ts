/**
 * What an attempt tells others, so that they can decide or write: the load balancer, the head's
 * writer, outlier detection, the retry policy. Filled again for each attempt; nobody keeps it.
 */
import type { DynamicMetadata } from "../../telemetry/request-record.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import type {
  EndpointChoice,
  UpstreamCluster,
  UpstreamEndpoint,
  UpstreamOutcome,
} from "../context.ts";
import { type ClientEnds, clientEndsOf } from "../engine/client-ends.ts";
import type { FilterState } from "../engine/filter-state.ts";
import type { MadeCookies } from "../engine/hash-policy.ts";
import { tooCostly } from "../engine/regex-substitution.ts";
import type { AttemptOutcome, CompiledRoute } from "../engine/route-table.ts";
import type { NamedHosts, WantedServer } from "../engine/wanted-server.ts";
import { servingCluster } from "../serving-cluster.ts";
import { AttemptMeter } from "./attempt-meter.ts";
import { EndpointAnswers } from "./endpoint-answers.ts";
import type { HttpRequest } from "./http-request.ts";
import type { HttpServices } from "./http-services.ts";
import { readLoadReport } from "./load-report.ts";
import type { AttemptFields } from "./request-head-writer.ts";
import { idempotentMethods, type Retries } from "./retries.ts";
import { formatGrpcTimeout, streamDurationMs, tellsGrpcTimeout } from "./stream-duration.ts";
import type { StreamRecord } from "./stream-record.ts";
import type { PoolFailure, UpstreamExchange, UpstreamReset } from "./upstream-exchange.ts";

const connectFailure: UpstreamOutcome = { kind: "connect-failure" };

type Changeable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Of the stream whose attempt it is. */
export interface AttemptStream {
  readonly request: HttpRequest;
  readonly record: StreamRecord;
  readonly services: HttpServices;
}

export class AttemptFacts implements MadeCookies, WantedServer {
  cookies: string[] | undefined = undefined;
  /** Of the endpoint that was chosen last, until somebody asks: nothing holds a cluster that is gone. */
  #serving: UpstreamCluster | undefined = undefined;
  namedHosts: NamedHosts | undefined = undefined;
  /** An answer to the request has said how busy its endpoint is. */
  #hasLoadReport = false;
  readonly #stream: AttemptStream;
  readonly #request: HttpRequest;
  /** The caller speaks gRPC, and its server is told how long it waits; its stream's limit, 0 without one. */
  #tellsDeadline = false;
  #limitMs = 0;
  readonly #choice: Changeable<EndpointChoice>;
  #route: CompiledRoute | undefined = undefined;
  readonly #fields: Changeable<AttemptFields> = { expectedMs: 0, count: 0, isUpgrade: false };
  #isError: UpstreamCluster["isErrorAnswer"];
  #tracked: UpstreamCluster["tracked"];
  #meter: AttemptMeter | undefined;
  readonly #answer: AnswerOutcome = new AnswerOutcome();
  /** Made for the first endpoint that is counted by itself. */
  #endpointAnswers: EndpointAnswers | undefined;
  readonly #reported: Changeable<Extract<UpstreamOutcome, { kind: "response" }>> = {
    kind: "response",
    status: 0,
    durationMs: 0,
  };

  constructor(stream: AttemptStream) {
    const { request } = stream;
    this.#stream = stream;
    this.#request = request;
    this.#choice = {
      connection: request.connection,
      hash: undefined,
      avoid: undefined,
      priorities: undefined,
      wanted: this,
      client: this,
      part: undefined,
    };
  }

  get state(): FilterState | undefined {
    return this.#request.state;
  }

  /** Whom its connection is made for. */
  get ends(): ClientEnds | undefined {
    const { connection } = this.#request;
    if (connection.ends !== undefined) return connection.ends;
    const { tellsClient } = this.#stream.services.settings;
    return tellsClient ? clientEndsOf(connection) : undefined;
  }

  /** Chooses an endpoint for the next attempt; undefined: there is none. */
  pick(
    route: CompiledRoute,
    retries: Retries,
    cluster: UpstreamCluster,
  ): UpstreamEndpoint | undefined {
    const choice = this.#choiceFor(route, retries, cluster);
    this.#serving = servingCluster(cluster, choice);
    const endpoint = this.#serving?.pick(choice);
    if (endpoint === undefined) return undefined;
    retries.onChosen(endpoint, choice.part);
    this.tell(endpoint);
    if (endpoint.stats !== undefined) {
      (this.#endpointAnswers ??= new EndpointAnswers()).begin(this.#request.header("content-type"));
    }
    return endpoint;
  }

  /** Where the endpoint just chosen is: the cluster that was asked for, or a member of it. */
  takeServing(): UpstreamCluster | undefined {
    const serving = this.#serving;
    this.#serving = undefined;
    return serving;
  }

  #choiceFor(route: CompiledRoute, retries: Retries, cluster: UpstreamCluster): EndpointChoice {
    const choice = this.#choice;
    this.#isError = cluster.isErrorAnswer;
    this.#tracked = cluster.tracked;
    if (cluster.tracked !== undefined) {
      (this.#meter ??= new AttemptMeter()).begin(this.#stream.services.upstreams.wheel.nowMs);
    }
    this.cookies = undefined;
    this.#route = route;
    if (retries.count === 0) {
      this.#readDeadline(route);
      this.namedHosts = undefined;
      this.#hasLoadReport = false;
    }
    choice.hash = route.hash?.(this.#request, this);
    choice.criteria = route.criteria;
    // A session's endpoint had its turn.
    choice.override = retries.count === 0 ? this.#request.endpoint : undefined;
    choice.avoid = retries.avoided;
    choice.redrawsMax = retries.redrawsMax;
    choice.priorities = retries.priorities;
    choice.authority = this.#request.authority;
    choice.part = undefined;
    return choice;
  }

  header(name: string): string | undefined {
    return this.#request.header(name);
  }

  firstLine(name: string): string | undefined {
    return this.#request.lines(name)?.[0] ?? this.#request.header(name);
  }

  get metadata(): DynamicMetadata | undefined {
    return this.#request.metadata;
  }

  addMetadata(namespace: string, fields: Readonly<Record<string, unknown>>): void {
    this.#request.addMetadata(namespace, fields);
  }

  hostOr(header: string): string {
    const request = this.#request;
    const told = header === "" ? undefined : request.header(header);
    if (told !== undefined && told !== "") return told;
    const route = this.#route;
    const host = route?.hostRewriteFrom?.(request) ?? route?.hostRewrite ?? request.authority;
    // No name: the request is refused, and nobody shall look up another one for it.
    return host === tooCostly ? "" : host;
  }

  fields(expectedMs: number, isUpgrade: boolean): AttemptFields {
    const fields = this.#fields;
    if (this.#tracked !== undefined) this.#meter?.onSent();
    const isTold = this.#route?.includeAttemptCount === true;
    if (this.#tellsDeadline) this.#tellDeadline(expectedMs);
    fields.expectedMs = this.#stream.services.router.isSilent ? 0 : expectedMs;
    fields.count = isTold ? this.#stream.record.upstreamAttempts : 0;
    fields.isUpgrade = isUpgrade;
    return fields;
  }

  #readDeadline(route: CompiledRoute): void {
    const { record, services } = this.#stream;
    const isHttp2 = record.protocol === "HTTP/2";
    this.#tellsDeadline = isHttp2 && tellsGrpcTimeout(this.#request, route);
    if (!this.#tellsDeadline) return;
    const { maxStreamDurationMs } = services.settings;
    const isNewer = route.grpcTimeoutCapMs === undefined;
    this.#limitMs = isNewer ? streamDurationMs(this.#request, route, maxStreamDurationMs) : 0;
  }

  /** What has passed since the request came is gone for the server, too. `expectedMs`: of the attempt. */
  #tellDeadline(expectedMs: number): void {
    const { record, services } = this.#stream;
    const passedMs = services.upstreams.wheel.nowMs - record.startMonotonicMs;
    const attemptMs = record.upstreamAttempts > 1 ? expectedMs : expectedMs - passedMs;
    const leftMs = Math.min(
      this.#limitMs > 0 ? this.#limitMs - passedMs : Infinity,
      expectedMs > 0 ? attemptMs : Infinity,
    );
    if (leftMs < Infinity) this.#request.headers.set("grpc-timeout", formatGrpcTimeout(leftMs));
  }

  /** The record says where the attempt goes. */
  tell(endpoint: UpstreamEndpoint | undefined): void {
    if (endpoint === undefined) return;
    const { address, hostname, metadata } = endpoint;
    const { record } = this.#stream;
    record.upstreamHost = address;
    record.upstreamHostName = hostname;
    record.upstreamMetadata = metadata;
  }

  /** The attempt is over. `timeoutMs`: that it had, 0 for any; undefined: that of the request has ended it. */
  left(timeoutMs: number | undefined): void {
    const tracked = this.#tracked;
    if (tracked === undefined || this.#meter === undefined) return;
    const { record, services } = this.#stream;
    tracked.onAttempt(this.#meter.end(record, services.upstreams.wheel.nowMs, timeoutMs));
  }

  /** An attempt whose exchange has broken off before its answer, for the retry policy. */
  lost(kind: UpstreamReset, exchange: UpstreamExchange | undefined): AttemptOutcome {
    return {
      kind: "reset",
      isBeforeRequest: false,
      isRefused: kind === "refused",
      isReusedConnection: exchange?.isReused ?? false,
      isIdempotent: idempotentMethods.has(this.#request.method),
    };
  }

  /** An attempt that got no exchange, for outlier detection. */
  missed(failure: PoolFailure): UpstreamOutcome | undefined {
    if (failure !== "no-upgrade") return connectFailure;
    // The endpoint was reached, and has done nothing wrong.
    this.#stream.record.upstreamProtocol = "HTTP/2";
    return undefined;
  }

  /** For the retry policy. */
  answer(head: Http1Head): AttemptOutcome {
    this.#answer.head = head;
    return this.#answer;
  }

  /**
   * What any answer says of its endpoint: one that is checked can ask not to be counted until it passes again, one
   * that is weighed says how busy it is.
   */
  heed(head: Http1Head, { suspect, onLoadReport }: UpstreamEndpoint): void {
    if (suspect !== undefined && head.findName("x-envoy-immediate-health-check-fail") >= 0) {
      suspect();
    }
    if (onLoadReport !== undefined) this.#hear(head, onLoadReport);
  }

  /** As Envoy: once for a request, be it in a head or in trailers. */
  #hear(head: Http1Head, tell: NonNullable<UpstreamEndpoint["onLoadReport"]>): void {
    if (this.#hasLoadReport) return;
    const report = readLoadReport(head);
    if (report === undefined) return;
    this.#hasLoadReport = true;
    tell(report);
  }

  /** For outlier detection. */
  reported(head: Http1Head, durationMs: number): UpstreamOutcome {
    if (this.#tracked !== undefined) this.#meter?.onAnswer(head);
    if (this.#endpointAnswers !== undefined) this.#endpointAnswers.head = head;
    this.#reported.status = this.#isError === undefined ? head.status : this.#judged(head);
    this.#reported.durationMs = durationMs;
    return this.#reported;
  }

  /** An attempt has fared so; undefined: nothing is to be told of it. */
  report(
    endpoint: UpstreamEndpoint | undefined,
    outcome: UpstreamOutcome | undefined,
    isRetried = false,
  ): void {
    if (endpoint === undefined || outcome === undefined) return;
    endpoint.report(outcome);
    const { stats } = endpoint;
    if (stats !== undefined) this.#endpointAnswers?.tell(stats, outcome, isRetried);
  }

  /** The whole answer is there. */
  onEnd(endpoint: UpstreamEndpoint | undefined, trailers: Http1Head | undefined): void {
    if (endpoint === undefined) return;
    const { stats, onLoadReport } = endpoint;
    if (stats !== undefined) this.#endpointAnswers?.onEnd(stats, trailers);
    if (onLoadReport !== undefined && trailers !== undefined) this.#hear(trailers, onLoadReport);
  }

  /** The status that stands for what the cluster thinks of the answer. */
  #judged(head: Http1Head): number {
    const header = (name: string): string | undefined =>
      name === ":status" ? String(head.status) : head.joined(name);
    return this.#isError?.(header) === true ? 500 : 200;
  }
}

class AnswerOutcome {
  readonly kind = "response";
  head: Http1Head | undefined = undefined;

  get status(): number {
    return this.head?.status ?? 0;
  }

  get grpcStatus(): number | undefined {
    const field = this.head?.findId(known.grpcStatus) ?? -1;
    return field < 0 ? undefined : Number(this.head?.valueAt(field));
  }

  header(name: string): string | undefined {
    return this.head?.joined(name);
  }
}
