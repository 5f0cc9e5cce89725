/**
 * One request and its response, from the head to the log entry: target, headers, filters, route,
 * upstream or an answer of our own. A connection has one stream object and uses it again for each
 * request; HTTP/1.1 answers in order, so it never needs two. Its states are facts that only go
 * forward: request complete, response started, ended.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { moment } from "../../telemetry/request-times.ts";
import { dropForbiddenTrailers } from "../../wire/http1-writer.ts";
import type { UpstreamCluster } from "../context.ts";
import type { CompiledRoute, RouteOutcome } from "../engine/route-table.ts";
import { Deadline, type DeadlineOwner } from "./deadline-wheel.ts";
import type { Downstream } from "./downstream.ts";
import { disconnected, type DownstreamReason } from "./downstream-reason.ts";
import { droppedAs } from "./drop-overload.ts";
import { type FailureKind, failureMeanings, isRefusedService } from "./failure.ts";
import type { BodyCoder, ReplyChanges } from "./filter.ts";
import { type FilteredStream, FilterRun } from "./filter-run.ts";
import { applyForwarded } from "./forwarded.ts";
import { HttpRequest } from "./http-request.ts";
import { type HttpServices, refusesRequest } from "./http-services.ts";
import { directReply, redirectReply } from "./local-replies.ts";
import { MessageHeaders } from "./message-headers.ts";
import { RequestBody } from "./request-body.ts";
import { countRouted } from "./route-counting.ts";
import { settleTarget, takeUpgrade } from "./request-target.ts";
import { flag } from "./response-flags.ts";
import { ResponseSide } from "./response-side.ts";
import { streamDurationMs } from "./stream-duration.ts";
import { StreamRecord } from "./stream-record.ts";
import { decorateRequest, traceRequest } from "./stream-tracing.ts";
import { refusesUpgrade } from "./tunnel.ts";
import { UpstreamRequest } from "./upstream-request.ts";

const noRoute: RouteOutcome = { kind: "no-route" };

export class HttpStream implements FilteredStream, DeadlineOwner {
  readonly connection: Downstream;
  readonly services: HttpServices;
  readonly request: HttpRequest;
  readonly responseHeaders: MessageHeaders = new MessageHeaders();
  readonly record: StreamRecord;
  readonly body: RequestBody = new RequestBody();
  outcome: RouteOutcome = noRoute;
  route: CompiledRoute | undefined = undefined;
  coder: BodyCoder | undefined = undefined;
  isActive = false;
  /** Changes with every request: what was begun for an earlier one can tell. */
  generation = 0;
  /** The connection must not carry another request after this one. */
  mustClose = false;
  /** Protocol of an accepted Upgrade, in lower case; empty for an ordinary request. */
  upgrade = "";
  readonly answer: ResponseSide;
  readonly #upstream: UpstreamRequest;
  readonly #idle: Deadline = new Deadline(this);
  #idleMs = 0;
  readonly pauses: FilterRun;
  readonly #duration: Deadline = new Deadline(this);
  #head: Http1Head | undefined;
  /** The route's, as it was when the route was taken. */
  #cluster: UpstreamCluster | undefined;

  constructor(connection: Downstream, services: HttpServices) {
    this.connection = connection;
    this.services = services;
    this.request = new HttpRequest(connection.view);
    const headers = { request: this.request, response: this.responseHeaders };
    this.record = new StreamRecord(connection.channel, headers);
    this.answer = new ResponseSide(this);
    this.#upstream = new UpstreamRequest(this);
    this.pauses = new FilterRun(this, services.filters, services.upstreams);
  }

  get random(): () => number {
    return this.services.context.random;
  }

  get isResponseStarted(): boolean {
    return this.answer.isStarted;
  }

  get isRequestComplete(): boolean {
    return this.body.isComplete;
  }

  /** A new request: its head is complete, framed, or in error. With a reason it gets no answer. */
  begin(head: Http1Head, failure: FailureKind | DownstreamReason | undefined): void {
    const { services, record, request } = this;
    const { wheel } = services.upstreams;
    record.reset(services.context.clock, wheel, this.connection);
    services.counters.downstream.onRequest(this.connection.protocol);
    this.#head = head;
    this.isActive = true;
    this.answer.reset();
    this.mustClose = false;
    this.upgrade = "";
    this.outcome = noRoute;
    this.route = undefined;
    this.coder = undefined;
    this.#cluster = undefined;
    this.pauses.begin();
    this.body.reset(services.bufferBytesMax);
    this.body.isComplete = head.bodyKind === "none";
    if (this.body.isComplete) record.times.set(moment.requestEnd, wheel.nowMs);
    this.generation++;
    record.direction = services.direction;
    record.protocol = this.connection.protocol;
    request.reset(head);
    if (failure === undefined) return this.#admit(head);
    if (typeof failure === "object") return this.onDownstreamClose(failure);
    // The request line was sound: the log shall say what it was.
    if (failure === "host-missing" || isRefusedService(failure)) record.takeRequestLine(head);
    this.#refuse(failure);
  }

  #admit(head: Http1Head): void {
    const { services, record, request } = this;
    const { settings } = services;
    if (head.minorVersion === 0) record.protocol = "HTTP/1.0";
    const target = settleTarget(request, head, settings);
    record.takeTarget();
    if (refusesRequest(services)) return this.reply("resources-short");
    if (target.kind === "fail") return this.#refuse(target.failure);
    if (target.kind === "unserved") return this.reply(target.failure);
    if (target.kind === "redirect") {
      return this.reply("direct", {
        status: 307,
        details: "path_normalization_failed",
        headers: [["location", target.path]],
      });
    }
    this.upgrade = takeUpgrade(request.method, head);
    // When the protocol is not switched, bytes sent in the hope that it would be are not requests.
    if (this.upgrade !== "") this.mustClose = true;
    record.requestId = applyForwarded(request, this.connection.channel, settings);
    record.scheme = request.scheme;
    record.setRemote(request.remoteAddress);
    if (settings.tracing !== undefined) {
      traceRequest(request, record, settings.tracing, services.context.random);
    }
    this.#findRoute();
    this.pauses.run();
  }

  #findRoute(): void {
    const { services, request } = this;
    this.outcome = services.routes()?.resolve(request, services.context.random) ?? noRoute;
    this.#takeRoute();
  }

  refreshRoute(): void {
    this.route = undefined;
    this.#cluster = undefined;
    this.record.forgetRoute();
    this.#duration.disarm();
    this.#findRoute();
  }

  #takeRoute(): void {
    const { outcome, record, request } = this;
    const { settings, upstreams, context } = this.services;
    let idleMs = settings.streamIdleTimeoutMs;
    let durationMs = settings.maxStreamDurationMs;
    if (outcome.kind !== "no-route") {
      const { route } = outcome;
      this.route = route;
      record.takeRoute(route);
      idleMs = route.idleTimeoutMs ?? idleMs;
      durationMs = streamDurationMs(request, route, durationMs);
      if (settings.tracing !== undefined) decorateRequest(request, record, route);
    }
    if (outcome.kind === "forward") {
      this.#cluster = context.clusters.get(outcome.cluster);
      record.upstreamCluster = this.#cluster?.name ?? "";
      record.clusterMetadata = this.#cluster?.metadata;
    }
    this.#idleMs = idleMs;
    this.touch();
    if (durationMs > 0) upstreams.wheel.arm(this.#duration, durationMs);
  }

  /** Something moved: the idle time starts again. */
  touch(): void {
    if (this.#idleMs > 0) this.services.upstreams.wheel.arm(this.#idle, this.#idleMs);
    else this.#idle.disarm();
  }

  override(filter: string): unknown {
    return this.route?.filterConfigs.get(filter);
  }

  get requestBody(): RequestBody {
    return this.body;
  }

  onFiltered(): void {
    const { outcome } = this;
    this.record.times.set(moment.filtersEnd, this.services.upstreams.wheel.nowMs);
    switch (outcome.kind) {
      case "no-route":
        return this.reply("no-route");
      case "redirect":
        return this.reply(...redirectReply(outcome, this.request));
      case "direct-response":
        return this.reply("direct", directReply(outcome, this.record, this.request));
      case "forward":
        return this.#forward(outcome.route);
    }
  }

  #forward(route: CompiledRoute): void {
    const cluster = this.#cluster;
    if (refusesUpgrade(this, route)) return this.reply("upgrade-refused");
    if (cluster === undefined) {
      return this.reply("no-cluster", { status: route.clusterNotFoundStatus ?? 503 });
    }
    const { dropShare = 0 } = cluster;
    if (dropShare > 0 && this.random() < dropShare) {
      return this.reply(...droppedAs(dropShare));
    }
    const isWaiting = this.#head?.expectsContinue === true && !this.body.isComplete;
    if (isWaiting && !this.services.settings.passesContinue) this.passContinue();
    else if (isWaiting) this.request.headers.set("expect", "100-continue");
    const used = route.isHighPriority === true ? (cluster.high ?? cluster) : cluster;
    this.#upstream.start(used, route, this.#head?.bodyKind ?? "none");
  }

  /** Tells a client that waits to send its body; at most once. */
  passContinue(): void {
    if (this.#head?.expectsContinue !== true || this.isResponseStarted) return;
    this.#head.expectsContinue = false;
    this.connection.sender.interim();
  }

  onBody(chunk: Buffer, from: number, to: number): void {
    if (this.coder !== undefined) return this.coder.onRequestBody(chunk, from, to);
    this.record.onRequestBody(chunk, from, to);
    this.passBody(chunk, from, to);
  }

  passBody(chunk: Buffer, from: number, to: number): void {
    if (!this.isActive) return;
    this.touch();
    this.#upstream.onBody(chunk, from, to);
    this.pauses.onBody();
  }

  onBodyEnd(trailers: Http1Head | undefined): void {
    this.body.isComplete = true;
    this.record.times.set(moment.requestEnd, this.services.upstreams.wheel.nowMs);
    if (!this.isActive || this.coder?.refusesEnd() === true) return;
    this.body.trailers = trailers;
    if (trailers !== undefined) dropForbiddenTrailers(trailers);
    this.#upstream.onBodyEnd();
    this.pauses.onBody();
  }

  /** The body cannot be read any further. */
  onBodyError(): void {
    this.services.counters.protocolErrors.add();
    if (this.isResponseStarted) {
      this.record.flags |= flag.downstreamProtocolError;
      this.#upstream.abort();
      return this.#end("http1.codec_error");
    }
    this.#refuse("malformed-request");
  }

  /** Bytes for the upstream that were gathered during one chunk. */
  flushRequest(): void {
    this.#upstream.flush();
  }

  onDownstreamDrain(): void {
    if (this.answer.hasRoom) this.#upstream.resume();
  }

  onDownstreamClose(reason: DownstreamReason = disconnected): void {
    if (!this.isActive) return;
    this.record.flags |= reason.flag;
    this.#upstream.abort();
    this.#end(reason.details);
  }

  onDeadline(deadline: Deadline): void {
    if (!this.isActive) return;
    const isIdle = deadline === this.#idle;
    this.services.counters.onStreamTimeout(isIdle);
    const failure = isIdle
      ? this.isRequestComplete
        ? "stream-idle-waiting"
        : "stream-idle"
      : "max-duration";
    if (!this.isResponseStarted) return this.reply(failure);
    this.record.flags |= failureMeanings[failure].flag;
    this.#upstream.abort();
    this.#end(failureMeanings[failure].details);
    this.connection.breakOff();
  }

  /** The body took too long to arrive. */
  onRequestTimeout(): void {
    this.services.counters.requestTimeouts.add();
    this.mustClose = true;
    if (!this.isResponseStarted) return this.reply("request-timeout");
    this.#upstream.abort();
    this.breakResponse("request_overall_timeout");
  }

  #refuse(failure: FailureKind): void {
    if (!isRefusedService(failure)) this.services.counters.protocolErrors.add();
    this.mustClose = true;
    this.reply(failure);
  }

  /** Answers the request ourselves. */
  reply(failure: FailureKind | "direct", changes: ReplyChanges = {}): void {
    this.#upstream.abort();
    if (!this.isRequestComplete && this.#head?.bodyKind !== "none") this.mustClose = true;
    this.answer.writeOwn(failure, changes);
    this.#finish();
    this.connection.continueReading();
  }

  /** The upstream's final answer starts. */
  startResponse(head: Http1Head, serviceTimeMs: number, cookies?: readonly string[]): void {
    this.touch();
    this.answer.start(head, serviceTimeMs, cookies);
  }

  writeBody(chunk: Buffer, from: number, to: number): void {
    this.answer.writeBody(chunk, from, to);
  }

  /** The upstream's answer is whole. */
  endResponse(trailers: Http1Head | undefined): void {
    this.answer.finish(trailers);
    this.#finish();
  }

  #finish(): void {
    this.connection.sender.flush();
    if (!this.answer.isEndHeld) this.#end(this.record.responseCodeDetails);
  }

  /** The answer broke off: the client must see that it is not whole. */
  breakResponse(details: string): void {
    this.connection.sender.flush();
    this.#end(details);
    this.connection.breakOff();
  }

  /**
   * Told by who has it now: a tunnel, the answer while it is held back, or (not `isAnswered`) what
   * begins in its place.
   */
  endFor(details: string, isAnswered = true): void {
    this.#end(details, isAnswered);
  }

  #end(details: string, isAnswered = true): void {
    if (!this.isActive) return;
    const { record, services } = this;
    this.isActive = false;
    this.#idle.disarm();
    this.pauses.reset();
    this.#duration.disarm();
    this.answer.release();
    record.responseCodeDetails = details;
    record.finish(services.upstreams.wheel);
    services.counters.overhead.record(record.times.ownMs);
    services.counters.downstream.onRequestEnd(record);
    if (this.route?.statPrefix !== undefined) {
      countRouted(this.route, record, services.context.metrics);
    }
    for (const filter of this.pauses.filters) filter.onStreamEnd?.(this);
    services.sink.onEnd(record);
    if (isAnswered) this.connection.onStreamEnd();
  }

  /** The connection is gone: no request will come. */
  release(): void {
    this.services.upstreams.wheel.release(this.#idle, this.#duration);
    this.pauses.release();
    this.#upstream.release();
  }

  /** The upstream's connection is free again: another request may start. */
  onUpstreamReleased(): void {
    this.connection.continueReading();
  }
}
