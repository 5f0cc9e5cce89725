/** The RequestRecord of one HTTP stream at a time: the same object is filled again for the next. */
import type { Clock } from "../../base/clock.ts";
import type { Channel } from "../../net/channel.ts";
import type { DynamicMetadata, JsonValue, RequestRecord } from "../../telemetry/request-record.ts";
import { moment, RequestTimes } from "../../telemetry/request-times.ts";
import { GrpcMessageCounter } from "../../wire/grpc-message-counter.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import { stateJson, stateObject, stateText } from "../engine/filter-state.ts";
import { ConnectionRecord } from "../stats/connection-record.ts";
import type { DeadlineWheel } from "./deadline-wheel.ts";
import { grpcStatusOf } from "./failure.ts";
import type { CallSeries } from "./grpc-series.ts";
import type { HttpRequest } from "./http-request.ts";
import type { MessageHeaders } from "./message-headers.ts";
import { formatFlags } from "./response-flags.ts";

export class StreamRecord extends ConnectionRecord implements RequestRecord {
  readonly kind = "http";
  readonly times: RequestTimes = new RequestTimes();
  flags = 0;
  /** Our answer names the operation. */
  tellsOperation = false;
  responseTrailers: Http1Head | undefined = undefined;
  readonly #request: HttpRequest;
  readonly #response: MessageHeaders;
  /** Where a call of gRPC is counted; undefined for nowhere. */
  calls: CallSeries | undefined = undefined;
  /** Whether the answer is gRPC's; undefined until bytes of it pass, or somebody has said so. */
  isGrpcAnswer: boolean | undefined = undefined;
  readonly #requestMessages = new GrpcMessageCounter();
  readonly #responseMessages = new GrpcMessageCounter();
  /** The request is gRPC's, and its messages are counted; whether logs and metrics hear of them. */
  #countsMessages = false;
  #tellsMessages = false;
  /** The status of the call is what its HTTP status means. */
  #isStatusInferred = false;

  constructor(
    channel: Channel,
    headers: { readonly request: HttpRequest; readonly response: MessageHeaders },
  ) {
    const { request, response } = headers;
    super(channel, request.connection);
    this.protocol = "HTTP/1.1";
    this.#request = request;
    request.record = this;
    this.#response = response;
  }

  get dynamicMetadata(): DynamicMetadata | undefined {
    return this.#request.metadata;
  }

  filterState(key: string): string | undefined {
    return stateText(this.#request, key);
  }

  filterStateJson(key: string): JsonValue | undefined {
    return stateJson(stateObject(this.#request, key));
  }

  get requestMessages(): number {
    return this.#tellsMessages ? this.#requestMessages.count : 0;
  }

  get responseMessages(): number {
    return this.#tellsMessages ? this.#responseMessages.count : 0;
  }

  /** A call of gRPC, whose answer said how it went; undefined where none did. */
  get toldGrpcStatus(): number | undefined {
    return this.#isStatusInferred ? undefined : this.grpcStatus;
  }

  /** This is a call of gRPC. `tells`: logs and metrics hear of its messages, too. */
  countMessages(calls: CallSeries | undefined, tells: boolean): void {
    this.calls = calls;
    this.#countsMessages = true;
    this.#tellsMessages = tells;
  }

  /** What the client sends, and what gRPC's frames are read from, are the same. */
  onRequestBody(chunk: Buffer, from: number, to: number): void {
    this.bytesReceived += to - from;
    if (this.#countsMessages) this.onRequestMessages(chunk, from, to);
  }

  onRequestMessages(chunk: Buffer, from: number, to: number): void {
    if (!this.#countsMessages) return;
    const counter = this.#requestMessages;
    const before = counter.count;
    counter.read(chunk, from, to);
    if (counter.count > before) this.calls?.onRequestMessages(counter.count - before);
  }

  onResponseBody(chunk: Buffer, from: number, to: number): void {
    this.bytesSent += to - from;
    if (this.#countsMessages) this.onResponseMessages(chunk, from, to);
  }

  onResponseMessages(chunk: Buffer, from: number, to: number): void {
    if (!this.#countsMessages) return;
    this.isGrpcAnswer ??=
      this.responseCode === 200 && isGrpcContentType(this.responseHeader("content-type"));
    if (!this.isGrpcAnswer) return;
    const counter = this.#responseMessages;
    const before = counter.count;
    counter.read(chunk, from, to);
    if (counter.count > before) this.calls?.onResponseMessages(counter.count - before);
  }

  get responseFlags(): string {
    return formatFlags(this.flags);
  }

  /** A client behind other proxies has an address, but no port that we know. */
  setRemote(address: string): void {
    const source = this.downstreamSourceAddress;
    if (address === source.address) this.downstreamRemoteAddress = source;
    else if (address !== this.downstreamRemoteAddress.address) {
      this.downstreamRemoteAddress = { address, port: 0 };
    }
  }

  /**
   * Forgets the last request; what belongs to the connection stays. The head is there now, by the
   * wheel. Is handed no times, for each would be put into a box.
   */
  reset(
    clock: Clock,
    wheel: DeadlineWheel,
    { headBeganMs }: { readonly headBeganMs: number },
  ): void {
    const { nowMs } = wheel;
    this.clear();
    this.times.reset(headBeganMs, nowMs);
    this.startMs = clock.nowMs() - nowMs + headBeganMs;
    this.startMonotonicMs = headBeganMs;
    this.protocol = "HTTP/1.1";
    this.flags = 0;
    this.tellsOperation = false;
    this.responseTrailers = undefined;
    this.#isStatusInferred = false;
    this.isGrpcAnswer = undefined;
    if (!this.#countsMessages) return;
    this.#requestMessages.reset();
    this.#responseMessages.reset();
    this.#countsMessages = false;
    this.#tellsMessages = false;
    this.calls = undefined;
  }

  /** Where the request went; its head may be refused before that is known. */
  takeRequestLine(head: Http1Head): void {
    this.method = this.#request.method;
    this.path = head.text(head.methodEnd + 1, head.targetEnd);
  }

  /** The same, settled. */
  takeTarget(): void {
    const { method, path, authority } = this.#request;
    this.method = method;
    this.path = path;
    this.authority = authority;
  }

  takeRoute({ name, metadata, virtualHostMetadata }: CompiledRoute): void {
    this.routeName = name;
    this.routeMetadata = metadata;
    this.virtualHostMetadata = virtualHostMetadata;
  }

  /** Another one is looked for. */
  forgetRoute(): void {
    this.routeName = "";
    this.upstreamCluster = "";
    this.clusterMetadata = undefined;
    this.routeMetadata = undefined;
    this.virtualHostMetadata = undefined;
  }

  /**
   * Bytes have been written: what this turn took is the proxy's own time. Reads the clock, which the
   * turn has not done since it began.
   */
  endTurn(wheel: DeadlineWheel): void {
    const turnMs = wheel.nowMs;
    wheel.touch();
    this.times.ownMs += wheel.nowMs - turnMs;
  }

  /** The stream has ended. */
  finish(wheel: DeadlineWheel): void {
    this.endTurn(wheel);
    const { nowMs } = wheel;
    this.times.set(moment.responseEnd, nowMs);
    if (this.protocol === "HTTP/2" && this.grpcStatus === undefined) this.#inferGrpcStatus();
    this.durationMs = nowMs - this.startMonotonicMs;
  }

  /** A call of gRPC whose answer does not say how it went: what its HTTP status means. */
  #inferGrpcStatus(): void {
    if (this.responseCode === 0 || !isGrpcContentType(this.requestHeader("content-type"))) return;
    this.grpcStatus = grpcStatusOf(this.responseCode);
    this.#isStatusInferred = true;
  }

  /** Envoy's count: names and values, `:method`, `:status` and their like among them. */
  headBytes(which: "request" | "response" | "trailers"): number {
    if (which === "trailers") return this.#trailerBytes();
    if (which === "response") return this.#response.byteLength + (this.responseCode > 0 ? 10 : 0);
    const { headers } = this.#request;
    const host = headers.has("host") ? "host".length + this.authority.length : 0;
    const pseudo = [":method", ":path", ":authority", ":scheme"].join("").length;
    const values = [this.method, this.path, this.authority, this.scheme].join("").length;
    return headers.byteLength - host + pseudo + values;
  }

  #trailerBytes(): number {
    const trailers = this.responseTrailers;
    let bytes = 0;
    for (let field = 0; field < (trailers?.count ?? 0); field++) {
      bytes += (trailers?.nameAt(field).length ?? 0) + (trailers?.valueAt(field).length ?? 0);
    }
    return bytes;
  }

  /** Of the request, those that stand before it in HTTP/2 among them. */
  get requestHeadCount(): number {
    const { headers } = this.#request;
    return headers.length - (headers.has("host") ? 1 : 0) + 4;
  }

  requestHeader(name: string): string | undefined {
    return this.#request.header(name);
  }

  responseHeader(name: string): string | undefined {
    return this.#response.get(name);
  }

  responseTrailer(name: string): string | undefined {
    return this.responseTrailers?.joined(name);
  }
}
