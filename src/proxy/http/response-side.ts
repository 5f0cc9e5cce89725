/**
 * The response half of a stream: an upstream's answer passed on, or one of our own, with the fields
 * the proxy adds and the framing the client understands.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { moment } from "../../telemetry/request-times.ts";
import { known } from "../../wire/http1-tables.ts";
import { dropForbiddenTrailers } from "../../wire/http1-writer.ts";
import { decimalOf } from "../../wire/http2-framing.ts";
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import { type FailureKind, failureMeanings, grpcStatusOf } from "./failure.ts";
import type { ReplyChanges } from "./filter.ts";
import { encodeGrpcMessage } from "./grpc-message.ts";
import type { HeadShare } from "./answer-heads.ts";
import { overfull } from "./downstream-reason.ts";
import type { HttpStream } from "./http-stream.ts";
import type { OwnReply } from "./local-replies.ts";
import { flag } from "./response-flags.ts";
import { ResponseThrottle, type ThrottledAnswer } from "./response-throttle.ts";
import { decorateResponse } from "./stream-tracing.ts";
import { copyOf, passResponseTrailers } from "./trailer-edits.ts";
import { httpDate, type ResponseConnection } from "./response-head-writer.ts";

/** Envoy sets them when it has made the answer: what makes it does not see them. */
const lateFlags = flag.downstreamProtocolError | flag.rateLimited;

export class ResponseSide implements ThrottledAnswer {
  isStarted = false;
  /** All of the answer is here, and its end waits until the rest has left. */
  isEndHeld = false;
  readonly #stream: HttpStream;
  /** Filled again for each answer of our own. */
  readonly #reply: OwnReply = { status: 0, body: "", contentType: "" };
  #isConnected = false;
  /** The head waits for the body. */
  #isHeld = false;
  /** Filled again for each answer. */
  readonly #connection: ResponseConnection = { isHttp10: false, closes: false, isUpgrade: false };
  /** Where the body may leave only so fast. */
  #throttle: ResponseThrottle | undefined;
  /** Behind an end that is held. */
  #trailers: Http1Head | undefined;
  /** What is copied for it. */
  #heads: HeadShare | undefined;
  /** There was no place for what must wait: the answer cannot become whole. */
  #isOverfull = false;

  constructor(stream: HttpStream) {
    this.#stream = stream;
  }

  reset(): void {
    this.isStarted = false;
    this.#isConnected = false;
    this.release();
    this.#stream.connection.sender.reset();
    this.#stream.responseHeaders.reset(undefined);
  }

  /** The stream has ended: nothing waits for it any more. */
  release(): void {
    if (this.#throttle === undefined) return;
    this.#throttle.release();
    this.#throttle = undefined;
    this.#trailers = undefined;
    this.#heads?.release();
    this.#heads = undefined;
    this.#isOverfull = false;
    this.isEndHeld = false;
  }

  /** From now on the body leaves no faster; of several limits the lowest holds. */
  throttle(bytesPerSecond: number): void {
    if (this.#throttle !== undefined && this.#throttle.bytesPerSecond <= bytesPerSecond) return;
    const { services, connection } = this.#stream;
    const { wheel, throttled } = services.upstreams;
    const share = throttled.shareOf(connection.channel, services.bufferBytesMax);
    this.#throttle = new ResponseThrottle(this, wheel, { bytesPerSecond, share });
  }

  /** False: more than may be kept waits for its time. */
  get hasRoom(): boolean {
    return this.#throttle?.hasRoom !== false;
  }

  /** Sends what was gathered; false where whoever sends shall wait. */
  flush(): boolean {
    if (this.#isOverfull) return this.#breakOff();
    return this.#stream.connection.sender.flush() && this.hasRoom;
  }

  /** It is slower than what it is made of comes, and others are so, too. */
  #breakOff(): false {
    const stream = this.#stream;
    stream.services.counters.limits.overfullAnswers.add();
    stream.mustClose = true;
    stream.onDownstreamClose(overfull);
    stream.connection.breakOff();
    return false;
  }

  onPassed(): void {
    const stream = this.#stream;
    stream.touch();
    if (!this.isEndHeld || this.#throttle?.isEmpty === false) {
      if (this.flush()) stream.onDownstreamDrain();
      return;
    }
    this.isEndHeld = false;
    this.finish(this.#trailers);
    stream.connection.sender.flush();
    stream.endFor(stream.record.responseCodeDetails);
    stream.connection.continueReading();
  }

  /** Writes an answer of our own, whole. `direct`: configured, so not a failure. */
  writeOwn(failure: FailureKind | "direct", changes: ReplyChanges): void {
    const { record, responseHeaders: headers, request } = this.#stream;
    const meaning = failure === "direct" ? undefined : failureMeanings[failure];
    const flags = meaning?.flag ?? 0;
    record.flags |= flags & ~lateFlags;
    record.responseCodeDetails = changes.details ?? meaning?.details ?? "direct_response";
    const reply = this.#reply;
    reply.body = changes.body ?? meaning?.body ?? "";
    reply.status = changes.status ?? meaning?.status ?? 200;
    reply.contentType = "";
    for (const [name, value] of changes.headers ?? []) headers.set(name, value);
    const { status } = reply;
    this.#applyRoute(status);
    this.#stream.services.localReplies?.rewrite(reply, record, { headers, request });
    record.flags |= flags;
    const { coder } = this.#stream;
    const isGrpc = coder === undefined && isGrpcContentType(request.header("content-type"));
    if (isGrpc && (meaning !== undefined || changes.speaksGrpc === true)) {
      const isRewritten = reply.status !== status;
      record.grpcStatus =
        changes.grpcStatus ??
        (changes.status === undefined && !isRewritten ? meaning?.grpcStatus : undefined) ??
        grpcStatusOf(reply.status);
      reply.status = 200;
      headers.set("content-type", "application/grpc");
      headers.set("grpc-status", String(record.grpcStatus));
      if (reply.body !== "")
        headers.set("grpc-message", encodeGrpcMessage(utf8(reply.body).trimEnd()));
      reply.body = "";
    } else if (coder !== undefined) reply.body = coder.ownAnswer(reply.status, reply.body);
    this.#finishOwn(reply);
  }

  /** Frames an answer of our own, and writes it. */
  #finishOwn({ status, body, contentType }: Readonly<OwnReply>): void {
    const { record, responseHeaders: headers, request } = this.#stream;
    if (status !== 204 && status !== 304) {
      headers.set("content-length", String(body.length));
      if (body !== "" && contentType !== "") headers.set("content-type", contentType);
      if (body !== "" && !headers.has("content-type")) headers.add("content-type", "text/plain");
    }
    // Envoy takes every 400 of a proxy for a sign that the connection is out of step.
    if (status === 400 && !this.#stream.services.settings.keepsAfterInvalid) {
      this.#stream.mustClose = true;
    }
    const hasBody = request.method !== "HEAD" && body !== "";
    this.#finishHeaders(status, !hasBody, body.length);
    if (!hasBody) return;
    if (this.#throttle === undefined || this.#stream.coder !== undefined) {
      this.#stream.connection.sender.ownBody(body);
      record.bytesSent += body.length;
      return;
    }
    this.#write(this.#throttle, Buffer.from(body, "latin1"), 0, body.length);
    this.finish(undefined);
  }

  /**
   * The upstream's final answer starts. `serviceTimeMs` is whole: a fraction would be put into a
   * box wherever it goes.
   */
  start(head: Http1Head, serviceTimeMs: number, cookies: readonly string[] | undefined): void {
    const { record, responseHeaders: headers, route, connection } = this.#stream;
    connection.home.onAnswer?.();
    headers.reset(head);
    record.responseCodeDetails = "via_upstream";
    record.upstreamServiceTimeMs = serviceTimeMs;
    this.#readGrpcStatus(head);
    this.#isHeld = this.#stream.coder?.beginAnswer(head) === true;
    connection.sender.beginBody(head, headers, record.protocol === "HTTP/1.0");
    head.dropId(known.upgrade);
    if (!this.#stream.services.router.isSilent) {
      head.dropId(known.envoyUpstreamServiceTime);
      // An upgrade, or an answer before the request was whole, has no service time.
      if (this.#stream.isRequestComplete && this.#stream.upgrade === "") {
        headers.add("x-envoy-upstream-service-time", String(serviceTimeMs));
      }
    }
    if (cookies !== undefined) for (const cookie of cookies) headers.add("set-cookie", cookie);
    this.#applyRoute(head.status);
    if (route?.includeAttemptCountInResponse === true) {
      headers.set("x-envoy-attempt-count", String(record.upstreamAttempts));
    }
    if (this.#isHeld) this.isStarted = true;
    else this.#finishHeaders(head.status, head.bodyKind === "none");
  }

  /** 101 from the upstream: after this the connections carry the other protocol. */
  startUpgrade(head: Http1Head): void {
    const { responseHeaders: headers, request, connection } = this.#stream;
    headers.reset(head);
    // What follows is no content (RFC 9110 section 8.6), whatever length an answer of HTTP/2 names.
    head.dropId(known.contentLength);
    // An answer of HTTP/2 says nothing of what was asked for, and need not to a client of HTTP/2.
    if (head.isHttp2 && connection.protocol !== "HTTP/2") {
      headers.set("upgrade", request.headers.get("upgrade") ?? "");
    }
    this.#stream.record.responseCodeDetails = "via_upstream";
    this.#applyRoute(101);
    this.#finishHeaders(101, false);
    this.#stream.connection.sender.flush();
  }

  /** A CONNECT has reached its endpoint; `head`: the answer of who was asked for the tunnel. */
  startConnect(head?: Http1Head): void {
    const { responseHeaders: headers, record } = this.#stream;
    this.#isConnected = true;
    if (head !== undefined) {
      headers.reset(head);
      record.responseCodeDetails = "via_upstream";
      head.dropId(known.contentLength);
      head.dropId(known.transferEncoding);
      this.#applyRoute(head.status);
    }
    this.#finishHeaders(head?.status ?? 200, false);
    this.#stream.connection.sender.flush();
  }

  writeBody(chunk: Buffer, from: number, to: number): void {
    if (this.#throttle === undefined) this.pass(chunk, from, to);
    else this.#write(this.#throttle, chunk, from, to);
  }

  #write(throttle: ResponseThrottle, ...piece: [chunk: Buffer, from: number, to: number]): void {
    if (!this.#isOverfull) this.#isOverfull = !throttle.write(...piece);
  }

  pass(chunk: Buffer, from: number, to: number): void {
    const { coder } = this.#stream;
    if (coder !== undefined) {
      this.#stream.record.onResponseMessages(chunk, from, to);
      return this.#writeCoded(coder.encode(chunk, from, to));
    }
    this.#stream.record.onResponseBody(chunk, from, to);
    this.#stream.connection.sender.body(chunk, from, to);
  }

  #writeCoded(bytes: Buffer): void {
    this.#stream.record.bytesSent += bytes.length;
    this.#stream.connection.sender.body(bytes, 0, bytes.length);
  }

  /** The answer is whole. */
  finish(received: Http1Head | undefined): void {
    if (this.#isOverfull) return void this.#breakOff();
    if (this.#throttle?.isEmpty === false) return this.#holdEnd(received);
    const { record, services, connection, coder, pauses } = this.#stream;
    const trailers = received && passResponseTrailers(this.#stream, pauses.filters, received);
    if (trailers !== undefined) {
      this.#readGrpcStatus(trailers);
      dropForbiddenTrailers(trailers);
      record.responseTrailers = trailers;
    }
    if (coder !== undefined) {
      const last = coder.endAnswer(trailers);
      if (this.#isHeld) this.#finishHeaders(record.responseCode, true);
      this.#writeCoded(last);
      return connection.sender.end(undefined);
    }
    const carries = connection.protocol === "HTTP/2" && record.upstreamProtocol === "HTTP/2";
    connection.sender.end(carries || services.settings.forwardsTrailers ? trailers : undefined);
  }

  /** The upstream's connection serves others from now on: what lies in its heads is copied. */
  #holdEnd(trailers: Http1Head | undefined): void {
    const { responseHeaders: headers, services } = this.#stream;
    this.#heads = services.upstreams.heads.open();
    const bytes = (headers.head?.memoryBytes ?? 0) + (trailers?.memoryBytes ?? 0);
    if (!this.#heads.hold(bytes)) return void this.#breakOff();
    this.isEndHeld = true;
    this.#trailers = trailers && copyOf(trailers);
    headers.head = headers.head && copyOf(headers.head);
  }

  #readGrpcStatus(head: Http1Head): void {
    const field = head.findId(known.grpcStatus);
    if (field < 0) return;
    const status = decimalOf(head, field);
    const { record } = this.#stream;
    record.grpcStatus =
      status >= 0 ? status : (strangeStatus(head.valueAt(field)) ?? record.grpcStatus);
  }

  #applyRoute(status: number): void {
    const { responseHeaders: headers, request, route, record } = this.#stream;
    record.responseCode = status;
    route?.editResponse?.(headers, request);
  }

  /** Our own fields, then the head is written. `ownBytes`: of a body of ours. */
  #finishHeaders(status: number, isEnd: boolean, ownBytes = 0): void {
    const stream = this.#stream;
    const { services, responseHeaders: headers, record } = stream;
    const { settings } = services;
    this.isStarted = true;
    record.times.set(moment.responseBegin, services.upstreams.wheel.nowMs);
    record.responseCode = status;
    // Answers pass the filters from the last to the first.
    const { filters } = stream.pauses;
    for (let at = filters.length - 1; at >= 0; at--) filters[at]?.onResponse?.(stream);
    // A filter may have taken it away, and with it the answer's end.
    if (ownBytes > 0 && !headers.has("content-length")) {
      headers.add("content-length", String(ownBytes));
    }
    if (headers.head === undefined || headers.head.findId(known.date) < 0) {
      headers.add("date", httpDate(record.startMs));
    }
    if (settings.serverHeader === "overwrite") {
      headers.head?.dropId(known.server);
      headers.removeOwn("server");
    }
    if (settings.serverHeader === "overwrite" || this.#mustAppendServer()) {
      headers.add("server", settings.serverName);
    }
    if (settings.via !== "") headers.add("via", settings.via);
    if (settings.tracing !== undefined) decorateResponse(headers, record);
    if (settings.answersRequestId && record.requestId !== "") {
      headers.set("x-request-id", record.requestId);
    }
    const { sender } = stream.connection;
    if (sender.closesAfterBody || stream.connection.isLastRequest()) stream.mustClose = true;
    const connection = this.#connection;
    connection.isHttp10 = record.protocol === "HTTP/1.0";
    // A CONNECT that has succeeded is no message any more that could end.
    connection.closes = stream.mustClose && !this.#isConnected;
    connection.isUpgrade = status === 101;
    sender.head(status, headers, connection, isEnd);
  }

  #mustAppendServer(): boolean {
    return (
      this.#stream.services.settings.serverHeader === "append-if-absent" &&
      !this.#stream.responseHeaders.has("server")
    );
  }
}

/** Of what is no plain number: zeros may stand in front, nothing says nothing, and the rest is -1, as in Envoy. */
function strangeStatus(text: string): number | undefined {
  if (text === "") return undefined;
  return /^0+\d{1,9}$/.test(text) ? Number(text) : -1;
}

/** Of a body that is held as one byte per unit. */
function utf8(body: string): string {
  return Buffer.from(body, "latin1").toString("utf8");
}
