/**
 * One request and its response, from the head to the log entry: target, headers, filters, route,
 * upstream or an answer of our own. A connection has one stream object and uses it again for each
 * request; HTTP/1.1 answers in order, so it never needs two. Its states are facts that only go
 * forward: request complete, response started, ended.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import { dropForbiddenTrailers } from "../../wire/http1-writer.ts";
import { disabledFilter } from "../engine/filter-overrides.ts";
import type { CompiledRoute, RouteOutcome } from "../engine/route-table.ts";
import { Deadline, type DeadlineOwner } from "./deadline-wheel.ts";
import type { DownstreamConnection } from "./downstream-connection.ts";
import { type FailureKind, failureMeanings } from "./failure.ts";
import type { FilterStream, ReplyChanges } from "./filter.ts";
import { applyForwarded } from "./forwarded.ts";
import { HttpRequest } from "./http-request.ts";
import type { HttpServices } from "./http-services.ts";
import { MessageHeaders } from "./message-headers.ts";
import { RequestBody } from "./request-body.ts";
import { settleTarget } from "./request-target.ts";
import { type BodyMode, chooseBodyMode } from "./response-body-mode.ts";
import { flag } from "./response-flags.ts";
import { httpDate, writeResponseHead } from "./response-head-writer.ts";
import { applyOperations } from "./request-head-writer.ts";
import { StreamRecord } from "./stream-record.ts";
import { traceRequest } from "./stream-tracing.ts";
import { UpstreamRequest } from "./upstream-request.ts";

const noRoute: RouteOutcome = { kind: "no-route" };

export class HttpStream implements FilterStream, DeadlineOwner {
  readonly connection: DownstreamConnection;
  readonly services: HttpServices;
  readonly request: HttpRequest;
  readonly responseHeaders: MessageHeaders = new MessageHeaders();
  readonly record: StreamRecord;
  readonly body: RequestBody = new RequestBody();
  outcome: RouteOutcome = noRoute;
  route: CompiledRoute | undefined = undefined;
  filterState: unknown = undefined;
  isActive = false;
  /** Changes with every request: what was begun for an earlier one can tell. */
  generation = 0;
  isResponseStarted = false;
  /** The connection must not carry another request after this one. */
  mustClose = false;
  /** Protocol of an accepted Upgrade, in lower case; empty for an ordinary request. */
  upgrade = "";
  readonly #upstream: UpstreamRequest;
  readonly #idle: Deadline = new Deadline(this);
  readonly #delay: Deadline = new Deadline(this);
  readonly #duration: Deadline = new Deadline(this);
  #head: Http1Head | undefined;
  #filterIndex = 0;
  #bodyMode: BodyMode = "none";

  constructor(connection: DownstreamConnection, services: HttpServices) {
    this.connection = connection;
    this.services = services;
    this.request = new HttpRequest(connection.view);
    this.record = new StreamRecord(connection.channel, this.request, this.responseHeaders);
    this.#upstream = new UpstreamRequest(this);
  }

  get random(): () => number {
    return this.services.context.random;
  }

  get isRequestComplete(): boolean {
    return this.body.isComplete;
  }

  /** A new request: its head is complete, framed, or in error. */
  begin(head: Http1Head, failure: FailureKind | undefined): void {
    const { services, record, request } = this;
    const { wheel } = services.upstreams;
    record.reset(services.context.clock.nowMs(), wheel.nowMs);
    services.counters.requests.add();
    this.#head = head;
    this.isActive = true;
    this.isResponseStarted = false;
    this.mustClose = false;
    this.upgrade = "";
    this.outcome = noRoute;
    this.route = undefined;
    this.filterState = undefined;
    this.#filterIndex = 0;
    this.responseHeaders.reset(undefined);
    this.body.reset();
    this.body.isComplete = head.bodyKind === "none";
    this.generation++;
    record.direction = services.direction;
    request.reset(head);
    if (failure !== undefined) return this.#refuse(failure);
    this.#admit(head);
  }

  #admit(head: Http1Head): void {
    const { services, record, request } = this;
    const { settings } = services;
    if (head.minorVersion === 0) record.protocol = "HTTP/1.0";
    const target = settleTarget(request, head, settings);
    record.method = request.method;
    record.path = request.path;
    record.authority = request.authority;
    if (target.kind === "fail") return this.#refuse(target.failure);
    this.#filterUpgrade(head);
    record.requestId = applyForwarded(request, this.connection.channel, settings);
    record.scheme = request.scheme;
    if (target.kind === "redirect") {
      return this.reply("path-normalization", {
        status: 307,
        details: "path_normalization_redirect",
        headers: [["location", target.path]],
      });
    }
    if (settings.tracing !== undefined) {
      traceRequest(request, record, settings.tracing, services.context.random);
    }
    this.#armDeadlines();
    const table = services.routes();
    this.outcome = table?.resolve(request, services.context.random) ?? noRoute;
    if (this.outcome.kind !== "no-route") {
      this.route = this.outcome.route;
      record.routeName = this.outcome.route.name;
      const idleTimeoutMs = this.outcome.route.idleTimeoutMs;
      if (idleTimeoutMs !== undefined) this.#setIdle(idleTimeoutMs);
    }
    this.#runFilters();
  }

  #armDeadlines(): void {
    const { settings, upstreams } = this.services;
    this.#setIdle(settings.streamIdleTimeoutMs);
    if (settings.maxStreamDurationMs > 0) {
      upstreams.wheel.arm(this.#duration, settings.maxStreamDurationMs);
    }
  }

  #idleMs = 0;

  #setIdle(idleMs: number): void {
    this.#idleMs = idleMs;
    this.touch();
  }

  /** Something moved: the idle time starts again. */
  touch(): void {
    if (this.#idleMs > 0) this.services.upstreams.wheel.arm(this.#idle, this.#idleMs);
    else this.#idle.disarm();
  }

  /** An Upgrade is only one when it asks for a protocol that may pass and carries no body. */
  #filterUpgrade(head: Http1Head): void {
    if (head.hasUpgrade && head.bodyKind === "none") {
      const protocol = head.valueAt(head.findId(known.upgrade)).toLowerCase();
      if (protocol !== "h2c" && !protocol.includes(",")) this.upgrade = protocol;
    }
    if (this.request.method === "CONNECT") this.upgrade = "connect";
    // When the protocol is not switched, bytes sent in the hope that it would be are not requests.
    if (this.upgrade !== "") this.mustClose = true;
    else head.dropId(known.upgrade);
  }

  override(filter: string): unknown {
    return this.route?.filterConfigs.get(filter);
  }

  #runFilters(): void {
    const { filters } = this.services;
    while (this.#filterIndex < filters.length) {
      const filter = filters[this.#filterIndex++];
      if (filter === undefined || this.override(filter.name) === disabledFilter) continue;
      const verdict = filter.onRequest(this);
      if (verdict !== "continue") return;
    }
    this.#act();
  }

  resumeAfter(delayMs: number): void {
    this.services.upstreams.wheel.arm(this.#delay, delayMs);
  }

  /** Does what the route says. */
  #act(): void {
    const { outcome } = this;
    switch (outcome.kind) {
      case "no-route":
        return this.reply("no-route");
      case "redirect":
        applyOperations(this.responseHeaders, outcome.route.responseHeaders, this.request);
        return this.reply("no-route", {
          status: outcome.status,
          details: "direct_response",
          headers: [["location", outcome.location]],
        });
      case "direct-response":
        applyOperations(this.responseHeaders, outcome.route.responseHeaders, this.request);
        return this.reply("no-route", {
          status: outcome.status,
          details: "direct_response",
          body: Buffer.from(outcome.body).toString("latin1"),
        });
      case "forward":
        return this.#forward(outcome.cluster, outcome.route);
    }
  }

  #forward(clusterName: string, route: CompiledRoute): void {
    const { settings, context } = this.services;
    if (this.upgrade !== "") {
      const isAllowed = route.upgrades.get(this.upgrade) ?? settings.upgrades.get(this.upgrade);
      if (isAllowed !== true) return this.reply("upgrade-refused");
    }
    const cluster = context.clusters.get(clusterName);
    this.record.upstreamCluster = clusterName;
    if (cluster === undefined) {
      return this.reply("no-cluster", { status: route.clusterNotFoundStatus ?? 503 });
    }
    this.record.clusterMetadata = cluster.metadata;
    if (this.#head?.expectsContinue === true && !this.body.isComplete) {
      this.connection.write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    this.#upstream.start(cluster, route, this.#head?.bodyKind ?? "none");
  }

  onBody(chunk: Buffer, from: number, to: number): void {
    this.record.bytesReceived += to - from;
    if (!this.isActive) return;
    this.touch();
    this.#upstream.onBody(chunk, from, to);
  }

  onBodyEnd(trailers: Http1Head | undefined): void {
    this.body.isComplete = true;
    if (!this.isActive) return;
    let forwarded: Http1Head | undefined;
    if (trailers !== undefined && this.services.settings.forwardsTrailers) {
      dropForbiddenTrailers(trailers);
      forwarded = trailers;
    }
    this.#upstream.onBodyEnd(forwarded);
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
    this.#upstream.resume();
  }

  onDownstreamClose(): void {
    if (!this.isActive) return;
    this.record.flags |= flag.downstreamConnectionTermination;
    this.#upstream.abort();
    this.#end("downstream_remote_disconnect");
  }

  onDeadline(deadline: Deadline): void {
    if (!this.isActive) return;
    if (deadline === this.#delay) {
      this.#runFilters();
      this.#upstream.flush();
      return;
    }
    const isIdle = deadline === this.#idle;
    if (isIdle) this.services.counters.idleTimeouts.add();
    const failure = isIdle
      ? this.isRequestComplete
        ? "stream-idle-waiting"
        : "stream-idle"
      : "max-duration";
    if (!this.isResponseStarted) return this.reply(failure);
    this.record.flags |= failureMeanings[failure].flag;
    this.#upstream.abort();
    this.#end(failureMeanings[failure].details);
    this.connection.channel.destroy();
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
    this.services.counters.protocolErrors.add();
    this.mustClose = true;
    this.reply(failure);
  }

  /** Answers the request ourselves. */
  reply(failure: FailureKind, changes: ReplyChanges = {}): void {
    const meaning = failureMeanings[failure];
    const { record, responseHeaders: headers } = this;
    this.#upstream.abort();
    if (changes.status === undefined || failure !== "no-route") record.flags |= meaning.flag;
    record.responseCodeDetails = changes.details ?? meaning.details;
    const body = changes.body ?? (changes.details === "direct_response" ? "" : meaning.body);
    const isGrpc = this.request.header("content-type")?.startsWith("application/grpc") === true;
    let status = changes.status ?? meaning.status;
    for (const [name, value] of changes.headers ?? []) headers.set(name, value);
    if (isGrpc && changes.details !== "direct_response") {
      record.grpcStatus = changes.grpcStatus ?? meaning.grpcStatus;
      status = 200;
      headers.add("content-type", "application/grpc");
      headers.add("grpc-status", String(record.grpcStatus));
      if (body !== "") headers.add("grpc-message", encodeURI(body));
    } else if (status !== 204 && status !== 304) {
      headers.add("content-length", String(body.length));
      if (body !== "" && !headers.has("content-type")) headers.add("content-type", "text/plain");
    }
    this.#writeOwn(status, isGrpc ? "" : body);
  }

  #writeOwn(status: number, body: string): void {
    const { downstreamWriter: writer } = this.services;
    if (!this.isRequestComplete && this.#head?.bodyKind !== "none") this.mustClose = true;
    this.#bodyMode = "none";
    this.#finishHeaders(status);
    if (this.request.method !== "HEAD" && body !== "") {
      writer.text(body);
      this.record.bytesSent += body.length;
    }
    this.connection.flush();
    this.#end(this.record.responseCodeDetails);
    this.connection.continueReading();
  }

  /** Our own fields, then the head is written. */
  #finishHeaders(status: number): void {
    const { services, responseHeaders: headers, record } = this;
    const { settings } = services;
    const { head } = headers;
    this.isResponseStarted = true;
    record.responseCode = status;
    for (const filter of services.filters) filter.onResponse?.(this);
    if (settings.serverHeader === "overwrite") {
      head?.dropId(known.server);
      headers.add("server", settings.serverName);
    } else if (settings.serverHeader === "append-if-absent" && !headers.has("server")) {
      headers.add("server", settings.serverName);
    }
    if (head === undefined || head.findId(known.date) < 0) {
      headers.add("date", httpDate(record.startMs));
    }
    if (settings.via !== "") headers.add("via", settings.via);
    if (settings.answersRequestId && record.requestId !== "") {
      headers.set("x-request-id", record.requestId);
    }
    const isHttp10 = record.protocol === "HTTP/1.0";
    const closes = this.mustClose || this.#bodyMode === "close" || this.connection.isLastRequest();
    this.mustClose = closes;
    writeResponseHead(services.downstreamWriter, status, headers, {
      isHttp10,
      closes,
      isUpgrade: status === 101,
    });
  }

  /** The upstream's final answer starts. */
  startResponse(head: Http1Head, serviceTimeMs: number): void {
    const { record, responseHeaders: headers } = this;
    headers.reset(head);
    record.responseCodeDetails = "via_upstream";
    record.upstreamServiceTimeMs = serviceTimeMs;
    if (head.findId(known.grpcStatus) >= 0) {
      record.grpcStatus = Number(head.valueAt(head.findId(known.grpcStatus)));
    }
    this.#bodyMode = chooseBodyMode(head, headers, record.protocol === "HTTP/1.0");
    head.dropId(known.upgrade);
    headers.set("x-envoy-upstream-service-time", String(Math.floor(serviceTimeMs)));
    if (this.route !== undefined) {
      applyOperations(headers, this.route.responseHeaders, this.request);
      if (this.route.includeAttemptCountInResponse === true) {
        headers.set("x-envoy-attempt-count", String(record.upstreamAttempts));
      }
    }
    this.touch();
    this.#finishHeaders(head.status);
  }

  /** 101 from the upstream: after this the connections carry the other protocol. */
  startUpgrade(head: Http1Head): void {
    const { record, responseHeaders: headers } = this;
    headers.reset(head);
    record.responseCodeDetails = "via_upstream";
    if (this.route !== undefined) {
      applyOperations(headers, this.route.responseHeaders, this.request);
    }
    this.#bodyMode = "none";
    this.#finishHeaders(101);
    this.connection.flush();
  }

  /** A CONNECT has reached its endpoint. */
  startConnect(): void {
    this.#bodyMode = "none";
    this.#finishHeaders(200);
    this.connection.flush();
  }

  writeBody(chunk: Buffer, from: number, to: number): void {
    const { downstreamWriter: writer } = this.services;
    this.record.bytesSent += to - from;
    if (this.#bodyMode === "chunked") writer.chunk(chunk, from, to);
    else writer.bytes(chunk, from, to);
  }

  /** The upstream's answer is whole. */
  endResponse(trailers: Http1Head | undefined): void {
    const { services, record } = this;
    if (trailers !== undefined) {
      const field = trailers.findId(known.grpcStatus);
      if (field >= 0) record.grpcStatus = Number(trailers.valueAt(field));
      dropForbiddenTrailers(trailers);
      record.responseTrailers = trailers;
    }
    if (this.#bodyMode === "chunked") {
      services.downstreamWriter.lastChunk(
        services.settings.forwardsTrailers ? trailers : undefined,
      );
    }
    this.connection.flush();
    this.#end(record.responseCodeDetails);
  }

  /** The answer broke off: the client must see that it is not whole. */
  breakResponse(details: string): void {
    this.connection.flush();
    this.#end(details);
    this.connection.channel.destroy();
  }

  /** The connection has become a tunnel, which reports the end. */
  endTunnel(details: string): void {
    this.#end(details);
  }

  #end(details: string): void {
    if (!this.isActive) return;
    const { record, services } = this;
    this.isActive = false;
    this.#idle.disarm();
    this.#delay.disarm();
    this.#duration.disarm();
    record.responseCodeDetails = details;
    record.durationMs = services.upstreams.wheel.nowMs - record.startMonotonicMs;
    services.counters.responses[Math.floor(record.responseCode / 100) - 1]?.add();
    for (const filter of services.filters) filter.onStreamEnd?.(this);
    services.sink.onEnd(record);
    this.connection.onStreamEnd();
  }

  /** The upstream's connection is free again: another request may start. */
  onUpstreamReleased(): void {
    this.connection.continueReading();
  }
}
