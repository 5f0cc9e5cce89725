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
import { BackPressure } from "./back-pressure.ts";
import type { Deadline, DeadlineOwner } from "./deadline-wheel.ts";
import { type FailureKind, failureMeanings } from "./failure.ts";
import type { HttpStream } from "./http-stream.ts";
import { sendMirrors } from "./mirror.ts";
import { rewriteTarget, type UpstreamTarget } from "./request-head-writer.ts";
import { flag } from "./response-flags.ts";
import { openConnectTunnel, openUpgradeTunnel } from "./tunnel.ts";
import { idempotentMethods, Retries, retriesFor } from "./retries.ts";
import {
  poolFailures,
  replyUpstreamFailure,
  resetFailures,
  resetReason,
} from "./upstream-failure.ts";
import { UpstreamDeadlines } from "./upstream-deadlines.ts";
import { routeTimeout } from "./route-timeout.ts";
import type { UpstreamConnection } from "./upstream-connection.ts";
import type {
  PoolFailure,
  UpstreamExchange,
  UpstreamPool,
  UpstreamReset,
  UpstreamUser,
} from "./upstream-exchange.ts";

export class UpstreamRequest implements UpstreamUser, DeadlineOwner {
  readonly #stream: HttpStream;
  readonly #deadlines: UpstreamDeadlines;
  #cluster: UpstreamCluster | undefined;
  #route: CompiledRoute | undefined;
  #endpoint: UpstreamEndpoint | undefined;
  #pool: UpstreamPool | undefined;
  #exchange: UpstreamExchange | undefined;
  readonly #target: UpstreamTarget = { path: "", authority: "" };
  #bodyKind: BodyKind = "none";
  /** For a connection. */
  #isWaiting = false;
  readonly #pressure: BackPressure;
  readonly #retries: Retries = new Retries();
  readonly #facts: AttemptFacts;
  #retry: RetryPolicy | undefined;
  #attemptStartMs = 0;
  /** The head of the attempt is gathered, and not written yet. */
  #isSendTimed = false;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    this.#facts = new AttemptFacts(stream);
    this.#pressure = new BackPressure(stream.connection);
    this.#deadlines = new UpstreamDeadlines(this, stream.services.upstreams.wheel);
  }

  get isHeadRequest(): boolean {
    return this.#stream.request.method === "HEAD";
  }

  get isUpgradeRequest(): boolean {
    return this.#stream.upgrade !== "";
  }

  start(cluster: UpstreamCluster, route: CompiledRoute, bodyKind: BodyKind): void {
    const { request } = this.#stream;
    this.#cluster = cluster;
    this.#route = route;
    this.#bodyKind = bodyKind;
    this.#retry = retriesFor(request, route.retry);
    this.#retries.reset(cluster, this.#retry);
    this.#deadlines.reset(routeTimeout(request.headers, route), this.#retry);
    route.editRequest?.(request.headers, request);
    this.#try();
    if (this.#stream.isRequestComplete) this.#onRequestWhole();
  }

  #onRequestWhole(): void {
    this.#deadlines.onRequestWhole(this.isUpgradeRequest);
    const route = this.#route;
    if (route === undefined || route.mirrors.length === 0 || this.isUpgradeRequest) return;
    sendMirrors(this.#stream, route, { target: this.#target, bodyKind: this.#bodyKind });
  }

  #try(): void {
    const cluster = this.#cluster;
    const route = this.#route;
    if (cluster === undefined || route === undefined) return;
    const { record, services } = this.#stream;
    record.upstreamAttempts++;
    record.times.beginAttempt(services.upstreams.wheel.nowMs);
    const endpoint = cluster.pick(this.#facts.choice(route, this.#retries));
    if (endpoint === undefined) return this.#fail("no-healthy-endpoint", undefined);
    endpoint.active++;
    this.#endpoint = endpoint;
    record.upstreamHost = endpoint.address;
    record.upstreamHostName = endpoint.hostname;
    record.upstreamMetadata = endpoint.metadata;
    this.#attemptStartMs = services.upstreams.wheel.nowMs;
    if (record.upstreamAttempts === 1)
      rewriteTarget(this.#target, this.#stream, route, endpoint.hostname);
    if (this.#stream.upgrade === "connect" && route.isConnect) {
      this.#endpoint = undefined;
      openConnectTunnel(this.#stream, cluster, endpoint);
      return;
    }
    cluster.counters.onRequest();
    this.#isWaiting = true;
    this.#pool = services.upstreams.poolOf(endpoint, cluster, record.protocol === "HTTP/2");
    this.#pool.acquire(this, cluster, this.#retries.wantsFreshConnection);
  }

  onAttached(exchange: UpstreamExchange): void {
    const stream = this.#stream;
    const { services, record, body, request } = stream;
    this.#isWaiting = false;
    this.#exchange = exchange;
    this.#attemptStartMs = services.upstreams.wheel.nowMs;
    exchange.describe(record);
    record.times.set(moment.sendBegin, this.#attemptStartMs);
    this.#isSendTimed = true;
    const attempts = record.upstreamAttempts;
    const expectedMs = this.#deadlines.expectedMs(attempts === 1);
    const count = this.#route?.includeAttemptCount === true ? attempts : 0;
    const fields = this.#facts.fields(expectedMs, count, this.isUpgradeRequest);
    exchange.sendHead(request, this.#target, fields, this.#bodyKind);
    for (const piece of body.pieces) this.#sendPiece(exchange, piece, 0, piece.length);
    if (!this.#isReplayable()) body.forget();
    if (body.isComplete) this.#finishRequest(exchange);
    if (stream.isRequestComplete) this.#deadlines.onAttempt();
    if (!stream.connection.isReading) this.flush();
    this.#pressure.resumeDownstream();
  }

  #isReplayable(): boolean {
    const route = this.#route;
    if (this.#retry !== undefined || (route?.mirrors.length ?? 0) > 0) return true;
    return this.#bodyKind === "none";
  }

  #sendPiece(
    exchange: UpstreamExchange,
    chunk: Buffer,
    ...[from, to]: [from: number, to: number]
  ): void {
    if (!exchange.sendBody(chunk, from, to)) this.#pressure.pauseDownstream();
  }

  #finishRequest(exchange: UpstreamExchange): void {
    const { record, services, body } = this.#stream;
    const isHttp2 = record.protocol === "HTTP/2" && record.upstreamProtocol === "HTTP/2";
    const carries = isHttp2 || services.settings.forwardsTrailers;
    exchange.sendEnd(carries ? body.trailers : undefined);
    record.times.set(moment.sendEnd, services.upstreams.wheel.nowMs);
  }

  onBody(chunk: Buffer, from: number, to: number): void {
    const { body } = this.#stream;
    const exchange = this.#exchange;
    const isSent = exchange !== undefined;
    if (isSent) this.#sendPiece(exchange, chunk, from, to);
    if (isSent && !(body.isWhole && this.#isReplayable())) return;
    body.keep(chunk, from, to);
    if (body.bytes <= body.bytesMax) return;
    if (isSent) body.forget();
    else this.#pressure.pauseDownstream();
  }

  onBodyEnd(): void {
    const exchange = this.#exchange;
    if (exchange !== undefined) {
      this.#finishRequest(exchange);
      this.#deadlines.onAttempt();
    }
    if (this.#cluster !== undefined) this.#onRequestWhole();
  }

  /** Sends what was gathered. */
  flush(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    if (!exchange.flush()) this.#pressure.pauseDownstream();
    if (!this.#isSendTimed) return;
    this.#isSendTimed = false;
    this.#stream.record.endTurn(this.#stream.services.upstreams.wheel);
  }

  onUpstreamDrain(): void {
    this.#pressure.resumeDownstream();
  }

  /** The client takes bytes again. */
  resume(): void {
    this.#pressure.resumeUpstream();
  }

  onPoolFailure(failure: PoolFailure, error: ChannelError | undefined): void {
    this.#isWaiting = false;
    const kind = poolFailures[failure];
    if (failure === "overflow") {
      this.#leaveEndpoint(undefined);
      this.#stream.responseHeaders.set("x-envoy-overloaded", "true");
      return this.#fail(kind, undefined);
    }
    this.#leaveEndpoint({ kind: "connect-failure" });
    this.#retryOrFail({ kind: "connect-failure" }, kind, error);
  }

  onUpstreamReset(kind: UpstreamReset, error: ChannelError | undefined): void {
    const exchange = this.#exchange;
    const failure = resetFailures[kind];
    this.#exchange = undefined;
    this.#leaveEndpoint({ kind: "reset" });
    if (this.#stream.isResponseStarted) {
      const { record } = this.#stream;
      record.flags |= failureMeanings[failure].flag;
      this.#clear();
      const reason = resetReason(failure);
      return this.#stream.breakResponse(`upstream_reset_after_response_started{${reason}}`);
    }
    const outcome: AttemptOutcome = {
      kind: "reset",
      isBeforeRequest: false,
      isRefused: kind === "refused",
      isReusedConnection: exchange?.isReused ?? false,
      isIdempotent: idempotentMethods.has(this.#stream.request.method),
    };
    const isLost = exchange?.hasAnswered === false && this.#stream.body.isWhole;
    if (kind === "termination" && isLost && this.#retries.mayResend(outcome)) {
      this.#deadlines.endAttempt();
      return this.#try();
    }
    this.#retryOrFail(outcome, failure, error);
  }

  #retryOrFail(
    outcome: AttemptOutcome,
    failure: FailureKind,
    error: ChannelError | undefined,
  ): void {
    if (this.#scheduleRetry(outcome)) return;
    this.#fail(failure, error);
  }

  /** True when the outcome will be tried again. */
  #scheduleRetry(outcome: AttemptOutcome): boolean {
    const { body, services } = this.#stream;
    if (!body.isWhole || this.isUpgradeRequest) return false;
    const delayMs = this.#retries.next(outcome, this.#stream.record, services.context);
    if (delayMs === undefined) return false;
    this.#exchange = undefined;
    this.#deadlines.pause(delayMs);
    return true;
  }

  /** The attempt is over: tells outlier detection and the load balancer. */
  #leaveEndpoint(outcome: UpstreamOutcome | undefined): void {
    const endpoint = this.#endpoint;
    if (endpoint === undefined) return;
    this.#endpoint = undefined;
    endpoint.active--;
    if (outcome !== undefined) endpoint.report(outcome);
    this.#retries.avoid(endpoint);
  }

  #fail(failure: FailureKind, error: ChannelError | undefined): void {
    const hasRetried = this.#retries.count > 0;
    this.#clear();
    replyUpstreamFailure(this.#stream, { failure, error, hasRetried });
  }

  onInterim(status: number): void {
    if (status === 100) this.#stream.passContinue();
  }

  onResponseHead(exchange: UpstreamExchange): void {
    const { head } = exchange;
    const stream = this.#stream;
    const nowMs = stream.services.upstreams.wheel.nowMs;
    const serviceTimeMs = nowMs - this.#attemptStartMs;
    const { status } = head;
    stream.record.times.set(moment.answerBegin, exchange.answeredMs);
    if (this.#endpoint?.suspect !== undefined) this.#facts.heed(head, this.#endpoint);
    this.#deadlines.attempt.disarm();
    this.#deadlines.touch();
    const outcome = this.#retry === undefined ? undefined : this.#facts.answer(head);
    if (outcome !== undefined && this.#scheduleRetry(outcome)) {
      this.#cluster?.counters.onResponse(status, serviceTimeMs);
      this.#leaveEndpoint(this.#facts.reported(status, serviceTimeMs));
      exchange.abandon();
      return;
    }
    this.#endpoint?.report(this.#facts.reported(status, serviceTimeMs));
    if (this.#retries.count > 0 && status < 500) this.#cluster?.counters.onRetrySuccess();
    stream.startResponse(head, serviceTimeMs, this.#facts.cookies);
  }

  onUpgraded(connection: UpstreamConnection, rest: Buffer): void {
    const stream = this.#stream;
    const cluster = this.#cluster;
    const endpoint = this.#endpoint;
    this.#endpoint = undefined;
    this.#clear();
    endpoint?.report({ kind: "response", status: 101, durationMs: 0 });
    cluster?.counters.onResponse(101, 0);
    stream.startUpgrade(connection.head);
    openUpgradeTunnel(stream, { connection, endpoint, first: rest });
  }

  onResponseData(chunk: Buffer, from: number, to: number): void {
    const { record, services } = this.#stream;
    record.times.setOnce(moment.answerBodyBegin, services.upstreams.wheel.nowMs);
    this.#stream.writeBody(chunk, from, to);
  }

  onResponseFlush(): void {
    this.#stream.touch();
    this.#deadlines.touch();
    if (!this.#stream.connection.sender.flush()) this.#pressure.pauseUpstream(this.#exchange);
  }

  onResponseEnd(): void {
    const exchange = this.#exchange;
    const stream = this.#stream;
    const { wheel } = stream.services.upstreams;
    stream.record.times.set(moment.answerEnd, wheel.nowMs);
    this.#cluster?.counters.onResponse(
      stream.record.responseCode,
      wheel.nowMs - this.#attemptStartMs,
    );
    const trailers = exchange?.answerTrailers;
    this.#exchange = undefined;
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
    const { backoff, total, attemptIdle } = this.#deadlines;
    if (deadline === backoff) return this.#try();
    this.#cluster?.counters.onTimeout();
    this.#drop({ kind: "timeout" });
    if (deadline !== total && !stream.isResponseStarted) {
      this.#deadlines.endAttempt();
      const failure = deadline === attemptIdle ? "per-try-idle-timeout" : "per-try-timeout";
      return this.#retryOrFail({ kind: "per-try-timeout" }, failure, undefined);
    }
    if (stream.isResponseStarted) {
      stream.record.flags |= flag.upstreamRequestTimeout;
      this.#clear();
      return stream.breakResponse("response_timeout");
    }
    this.#fail("response-timeout", undefined);
  }

  /** The stream no longer wants an answer. */
  abort(): void {
    // The client may have been told to stop before there was any attempt.
    if (this.#cluster === undefined) return this.#pressure.resumeDownstream();
    this.#drop(undefined);
    this.#clear();
  }

  /** Leaves the attempt in flight, whatever its state. */
  #drop(outcome: UpstreamOutcome | undefined): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange !== undefined) exchange.abandon();
    else if (this.#isWaiting) this.#pool?.cancel(this);
    this.#isWaiting = false;
    this.#leaveEndpoint(outcome);
  }

  /** No request will come any more. */
  release(): void {
    this.#deadlines.release();
  }

  #clear(): void {
    this.#deadlines.clear();
    this.#retries.release();
    this.#cluster = undefined;
    this.#pressure.resumeUpstream();
    this.#pressure.resumeDownstream();
  }
}
