/**
 * The upstream side of a stream (Envoy's router filter): chooses endpoints, sends the request, tries
 * again where the route allows it, and turns what went wrong into a failure. One object per stream,
 * used again; an attempt that is over can no longer call it, because its connection forgot it.
 */
import type { ChannelError } from "../../net/channel.ts";
import { moment } from "../../telemetry/request-times.ts";
import type { BodyKind } from "../../wire/http1-head.ts";
import type { UpstreamCluster, UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import type { AttemptOutcome, CompiledRoute, RetryPolicy } from "../engine/route-table.ts";
import { AttemptFacts } from "./attempt-facts.ts";
import type { Deadline, DeadlineOwner } from "./deadline-wheel.ts";
import { type FailureKind, failureMeanings } from "./failure.ts";
import { type HedgedAttempt, HedgedAttempts, type HedgingRequest } from "./hedged-attempts.ts";
import type { HttpStream } from "./http-stream.ts";
import { followRedirect } from "./internal-redirect.ts";
import { sendMirrors } from "./mirror.ts";
import { RequestControls } from "./request-controls.ts";
import { RequestFeed } from "./request-feed.ts";
import { rewriteTarget, type UpstreamTarget } from "./request-head-writer.ts";
import { openConnectTunnel, openUpgradeTunnel } from "./tunnel.ts";
import { Retries, retriesFor } from "./retries.ts";
import {
  breakAnswer,
  isFinal,
  poolFailures,
  replyUpstreamFailure,
  resetFailures,
} from "./upstream-failure.ts";
import { UpstreamDeadlines } from "./upstream-deadlines.ts";
import { routeTimeout } from "./route-timeout.ts";
import type {
  PoolFailure,
  UpgradedExchange,
  UpstreamExchange,
  UpstreamPool,
  UpstreamReset,
} from "./upstream-exchange.ts";

export class UpstreamRequest implements HedgingRequest, DeadlineOwner {
  readonly #stream: HttpStream;
  readonly #deadlines: UpstreamDeadlines;
  #cluster: UpstreamCluster | undefined;
  #route: CompiledRoute | undefined;
  #endpoint: UpstreamEndpoint | undefined;
  /** The request waits there for a connection. */
  #pool: UpstreamPool | undefined;
  #exchange: UpstreamExchange | undefined;
  readonly #target: UpstreamTarget = { path: "", authority: "" };
  #bodyKind: BodyKind = "none";
  readonly #feed: RequestFeed;
  readonly #retries: Retries = new Retries();
  readonly #controls: RequestControls = new RequestControls();
  #late: HedgedAttempts | undefined;
  readonly #facts: AttemptFacts;
  #retry: RetryPolicy | undefined;
  #attemptStartMs = 0;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    this.#facts = new AttemptFacts(stream);
    this.#feed = new RequestFeed(stream);
    this.#deadlines = new UpstreamDeadlines(this, stream.services.upstreams.wheel);
  }

  get isHeadRequest(): boolean {
    return this.#stream.request.method === "HEAD";
  }

  get isUpgradeRequest(): boolean {
    return this.#stream.upgrade !== "" && this.#stream.request.method !== "CONNECT";
  }

  start(cluster: UpstreamCluster, route: CompiledRoute, bodyKind: BodyKind): void {
    const { request, services } = this.#stream;
    this.#cluster = cluster;
    this.#route = route;
    this.#bodyKind = bodyKind;
    this.#retry = retriesFor(request, route.retry);
    this.#controls.read(request, route);
    this.#retries.reset(cluster, this.#retry);
    this.#feed.reset(route, this.#retry, bodyKind);
    this.#deadlines.reset(routeTimeout(request, route, services.router), this.#retry);
    route.editRequest?.(request.headers, request);
    this.#try();
    if (this.#stream.isRequestComplete) this.#onRequestWhole();
  }

  #onRequestWhole(): void {
    this.#deadlines.onRequestWhole(this.#stream.upgrade !== "");
    if (this.#route === undefined || this.#route.mirrors.length === 0) return;
    const from = { target: this.#target, bodyKind: this.#bodyKind, forMs: this.#deadlines.totalMs };
    sendMirrors(this.#stream, this.#route, from);
  }

  #try(): void {
    const cluster = this.#cluster;
    const route = this.#route;
    if (cluster === undefined || route === undefined) return;
    const { record, services } = this.#stream;
    record.upstreamAttempts++;
    record.times.beginAttempt(services.upstreams.wheel.nowMs);
    const endpoint = this.#facts.pick(route, this.#retries, cluster);
    if (endpoint === undefined) return this.#fail("no-healthy-endpoint", undefined);
    endpoint.active++;
    this.#endpoint = endpoint;
    const serving = this.#facts.takeServing() ?? cluster;
    this.#attemptStartMs = services.upstreams.wheel.nowMs;
    const isNew = record.upstreamAttempts === 1;
    if (isNew && !rewriteTarget(this.#target, this.#stream, route, endpoint.hostname)) {
      this.#route = undefined; // No copies of it.
      return this.#stream.reply("rewrite-too-costly");
    }
    if (this.#stream.upgrade === "connect" && route.endsConnect) {
      this.#endpoint = undefined;
      return openConnectTunnel(this.#stream, serving, endpoint);
    }
    this.#pool = services.upstreams.poolOf(endpoint, serving, record.protocol === "HTTP/2");
    this.#pool.acquire(this, serving, this.#retries.wantsFreshConnection);
  }

  onAttached(exchange: UpstreamExchange): void {
    const stream = this.#stream;
    const { services, record, request } = stream;
    this.#pool = undefined;
    this.#exchange = exchange;
    this.#attemptStartMs = services.upstreams.wheel.nowMs;
    exchange.describe(record);
    record.times.set(moment.sendBegin, this.#attemptStartMs);
    const expectedMs = this.#deadlines.expectedMs(record.upstreamAttempts === 1);
    const fields = this.#facts.fields(expectedMs, this.isUpgradeRequest);
    exchange.sendHead(request, this.#target, fields, this.#bodyKind);
    this.#feed.start(exchange);
    if (stream.isRequestComplete) this.#deadlines.onAttempt();
    if (!stream.connection.isReading) this.flush();
    this.#feed.pressure.resumeDownstream();
  }

  onBody(chunk: Buffer, from: number, to: number): void {
    this.#feed.onBody(this.#exchange, chunk, from, to);
  }

  onBodyEnd(): void {
    if (this.#feed.finish(this.#exchange)) this.#deadlines.onAttempt();
    if (this.#cluster !== undefined) this.#onRequestWhole();
  }

  flush(): void {
    this.#feed.flush(this.#exchange);
  }

  onUpstreamDrain(): void {
    this.#feed.pressure.resumeDownstream();
  }

  /** The client takes bytes again. */
  resume(): void {
    this.#feed.pressure.resumeUpstream();
  }

  onPoolFailure(failure: PoolFailure, error: ChannelError | undefined): void {
    this.#pool = undefined;
    const isOver = isFinal(failure);
    this.#leaveEndpoint(isOver ? undefined : this.#facts.missed(failure));
    if (isOver) return this.#hasLate ? undefined : this.#fail(poolFailures[failure], error);
    this.#retryOrFail({ kind: "connect-failure" }, poolFailures[failure], error);
  }

  onUpstreamReset(kind: UpstreamReset, error: ChannelError | undefined): void {
    const exchange = this.#exchange;
    const failure = resetFailures[kind];
    this.#exchange = undefined;
    this.#leaveEndpoint(kind === "overlong" ? undefined : { kind: "reset" });
    if (this.#stream.isResponseStarted) return this.#fail(failure, error);
    const outcome = this.#facts.lost(kind, exchange);
    const isLost = exchange?.hasAnswered === false && this.#stream.body.isWhole;
    if (kind === "termination" && isLost && this.#retries.mayResend(outcome)) {
      this.#deadlines.endAttempt();
      return this.#try();
    }
    this.#retryOrFail(outcome, failure, error);
  }

  #retryOrFail(outcome: AttemptOutcome, failure: FailureKind, error?: ChannelError): void {
    if (this.#scheduleRetry(outcome) || this.#hasLate) return;
    this.#fail(failure, error);
  }

  /** True when the outcome will be tried again. */
  #scheduleRetry(outcome: AttemptOutcome): boolean {
    const { body, services } = this.#stream;
    if (!body.isWhole || this.#stream.upgrade !== "") return false;
    const delayMs = this.#retries.next(outcome, this.#stream.record, services.context);
    if (delayMs === undefined) return false;
    this.#exchange = undefined;
    this.#deadlines.pause(delayMs);
    return true;
  }

  /** The attempt is over: tells outlier detection and the load balancer. */
  #leaveEndpoint(outcome: UpstreamOutcome | undefined, isRetried = false): void {
    const endpoint = this.#endpoint;
    if (endpoint === undefined) return;
    this.#endpoint = undefined;
    endpoint.active--;
    this.#facts.left(this.#deadlines.attemptMs);
    this.#facts.report(endpoint, outcome, isRetried);
  }

  #fail(failure: FailureKind, error: ChannelError | undefined): void {
    if (this.#stream.isResponseStarted) {
      this.#clear();
      return breakAnswer(this.#stream, failure);
    }
    const hasRetried = this.#retries.count > 0;
    const { isTimeoutEmpty } = this.#controls;
    this.#cluster?.counters.onUntimedResponse(failureMeanings[failure].status);
    this.#clear();
    replyUpstreamFailure(this.#stream, { failure, error, hasRetried, isTimeoutEmpty });
  }

  onInterim(status: number): void {
    if (status === 100) this.#stream.passContinue();
  }

  onResponseHead(exchange: UpstreamExchange): void {
    const { head } = exchange;
    const stream = this.#stream;
    const serviceTimeMs = Math.floor(stream.services.upstreams.wheel.nowMs - this.#attemptStartMs);
    stream.record.times.set(moment.answerBegin, exchange.answeredMs);
    if (this.#endpoint !== undefined) this.#facts.heed(head, this.#endpoint);
    this.#deadlines.attempt.disarm();
    this.#deadlines.touch();
    const outcome = this.#retry === undefined ? undefined : this.#facts.answer(head);
    if (outcome !== undefined && this.#scheduleRetry(outcome)) {
      this.#cluster?.counters.onRetriedResponse(head.status);
      this.#leaveEndpoint(this.#facts.reported(head, serviceTimeMs), true);
      exchange.abandon();
      return;
    }
    const reported = this.#facts.reported(head, serviceTimeMs);
    if (this.#hasLate) {
      if (outcome !== undefined && this.#retry?.isRetriable(outcome) === true) {
        return this.#drop(reported, true);
      }
      this.#late?.abandon();
    }
    this.#facts.report(this.#endpoint, reported);
    this.#deliver(exchange, serviceTimeMs);
  }

  #deliver({ head }: UpstreamExchange, serviceTimeMs: number): void {
    this.#retries.onAnswer(head.status);
    const plan = this.#route?.redirects;
    if (plan?.statuses.has(head.status) === true) {
      const leave = (): void => this.abort();
      const told = { plan, answer: head, asked: this.#target, durationMs: serviceTimeMs, leave };
      if (followRedirect(this.#stream, told, this.#cluster?.counters)) return;
    }
    this.#stream.startResponse(head, serviceTimeMs, this.#facts.cookies);
  }

  /** Others that were begun before may answer. */
  get #hasLate(): boolean {
    return this.#late !== undefined && this.#late.count > 0;
  }

  /** The attempt takes its time: another is begun beside it, where one may be. Series of endpoints wait for its end. */
  #hedge(): void {
    const exchange = this.#exchange;
    const endpoint = this.#endpoint;
    endpoint?.report({ kind: "timeout" });
    const startMs = this.#attemptStartMs;
    if (exchange === undefined || !this.#scheduleRetry({ kind: "late" })) return;
    this.#endpoint = undefined;
    (this.#late ??= new HedgedAttempts(this)).add({ exchange, endpoint, startMs });
  }

  onLateHead(attempt: HedgedAttempt): boolean {
    const { exchange, endpoint, startMs } = attempt;
    const { record, services } = this.#stream;
    const serviceTimeMs = Math.floor(services.upstreams.wheel.nowMs - startMs);
    const isBad = this.#retry?.isRetriable(this.#facts.answer(exchange.head)) === true;
    const isLeft = isBad && this.#mayBeAnswered;
    this.#facts.report(endpoint, this.#facts.reported(exchange.head, serviceTimeMs), isLeft);
    if (isLeft) return false;
    this.#drop(undefined);
    this.#late?.abandon();
    this.#deadlines.endAttempts();
    this.#exchange = exchange;
    this.#endpoint = endpoint;
    this.#attemptStartMs = startMs;
    this.#facts.tell(endpoint);
    exchange.describe(record);
    this.#deliver(exchange, serviceTimeMs);
    return true;
  }

  onLateReset(kind: UpstreamReset, error: ChannelError | undefined): void {
    if (!this.#mayBeAnswered) this.#fail(resetFailures[kind], error);
  }

  /** By an attempt that is there, or will be. */
  get #mayBeAnswered(): boolean {
    const isThere = this.#exchange !== undefined || this.#pool !== undefined || this.#hasLate;
    return isThere || this.#deadlines.backoff.isArmed;
  }

  onUpgraded(upgraded: UpgradedExchange, rest: Buffer): void {
    const endpoint = this.#endpoint;
    const { status } = upgraded.head;
    this.#cluster?.counters.onUntimedResponse(this.isUpgradeRequest ? 101 : status);
    this.#endpoint = undefined;
    this.#exchange = undefined;
    this.#clear();
    this.#facts.report(endpoint, this.#facts.reported(upgraded.head, 0));
    openUpgradeTunnel(this.#stream, { upgraded, endpoint, first: rest });
  }

  onResponseData(chunk: Buffer, from: number, to: number): void {
    const { record, services } = this.#stream;
    record.times.setOnce(moment.answerBodyBegin, services.upstreams.wheel.nowMs);
    this.#stream.writeBody(chunk, from, to);
  }

  onResponseFlush(): void {
    this.#stream.touch();
    this.#deadlines.touch();
    if (!this.#stream.answer.flush()) this.#feed.pressure.pauseUpstream(this.#exchange);
  }

  onResponseEnd(): void {
    const stream = this.#stream;
    const { wheel } = stream.services.upstreams;
    stream.record.times.set(moment.answerEnd, wheel.nowMs);
    const durationMs = wheel.nowMs - this.#attemptStartMs;
    this.#controls.countAnswer(this.#cluster?.counters, stream.record.responseCode, durationMs);
    const trailers = this.#exchange?.answerTrailers;
    this.#deadlines.tellUsed(this.#cluster?.tracked);
    this.#exchange = undefined;
    this.#facts.onEnd(this.#endpoint, trailers);
    this.#leaveEndpoint(undefined);
    this.#clear();
    stream.endResponse(trailers);
  }

  onReleased(): void {
    this.#stream.onUpstreamReleased();
  }

  onDeadline(deadline: Deadline): void {
    const stream = this.#stream;
    if (!stream.isActive) return;
    const { attempt, backoff, total, attemptIdle } = this.#deadlines;
    if (deadline === backoff) return this.#try();
    if (deadline === total) this.#deadlines.onTotal(this.#cluster, 1 + (this.#late?.end() ?? 0));
    else this.#cluster?.counters.onTryTimeout(deadline === attemptIdle);
    const isLate = deadline === attempt && this.#controls.hedges;
    if (isLate && !stream.isResponseStarted) return this.#hedge();
    this.#drop({ kind: "timeout" });
    if (deadline !== total && !stream.isResponseStarted) {
      this.#deadlines.endAttempt();
      const failure = deadline === attemptIdle ? "per-try-idle-timeout" : "per-try-timeout";
      return this.#retryOrFail({ kind: "per-try-timeout" }, failure);
    }
    this.#fail("response-timeout", undefined);
  }

  /** The stream no longer wants an answer. */
  abort(): void {
    // The client may have been told to stop before there was any attempt.
    if (this.#cluster === undefined) return this.#feed.pressure.resumeDownstream();
    this.#drop(undefined);
    this.#clear();
  }

  /** Leaves the attempt in flight, whatever its state. */
  #drop(outcome: UpstreamOutcome | undefined, isBad = false): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.abandon();
    this.#pool?.cancel(this);
    this.#pool = undefined;
    this.#leaveEndpoint(outcome, isBad);
  }

  /** No request will come any more. */
  release(): void {
    this.#deadlines.release();
  }

  #clear(): void {
    this.#deadlines.clear();
    this.#late?.abandon();
    this.#retries.release();
    this.#cluster = undefined;
    this.#feed.pressure.resumeUpstream();
    this.#feed.pressure.resumeDownstream();
  }
}
