/** The RequestRecord of one HTTP stream at a time: the same object is filled again for the next. */
import type { Channel } from "../../net/channel.ts";
import type { DynamicMetadata, RequestRecord } from "../../telemetry/request-record.ts";
import { moment, RequestTimes } from "../../telemetry/request-times.ts";
import { GrpcMessageCounter } from "../../wire/grpc-message-counter.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import { stateText } from "../engine/filter-state.ts";
import { ConnectionRecord } from "../stats/connection-record.ts";
import type { DeadlineWheel } from "./deadline-wheel.ts";
import { grpcStatusOf } from "./failure.ts";
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
  readonly #countsMessages: boolean;
  readonly #requestMessages = new GrpcMessageCounter();
  readonly #responseMessages = new GrpcMessageCounter();
  /** Whether the bodies are gRPC's; undefined until bytes of them pass. */
  #isGrpcRequest: boolean | undefined = undefined;
  #isGrpcResponse: boolean | undefined = undefined;

  /** `countsMessages`: of gRPC, as `grpc_stats` asks for. */
  constructor(
    channel: Channel,
    headers: { readonly request: HttpRequest; readonly response: MessageHeaders },
    countsMessages: boolean,
  ) {
    const { request, response } = headers;
    super(channel, request.connection);
    this.protocol = "HTTP/1.1";
    this.#request = request;
    request.record = this;
    this.#response = response;
    this.#countsMessages = countsMessages;
  }

  get dynamicMetadata(): DynamicMetadata | undefined {
    return this.#request.metadata;
  }

  filterState(key: string): string | undefined {
    return stateText(this.#request, key);
  }

  get requestMessages(): number {
    return this.#requestMessages.count;
  }

  get responseMessages(): number {
    return this.#responseMessages.count;
  }

  onRequestBody(chunk: Buffer, from: number, to: number): void {
    this.bytesReceived += to - from;
    if (!this.#countsMessages) return;
    this.#isGrpcRequest ??= isGrpcContentType(this.requestHeader("content-type"));
    if (this.#isGrpcRequest) this.#requestMessages.read(chunk, from, to);
  }

  onResponseBody(chunk: Buffer, from: number, to: number): void {
    this.bytesSent += to - from;
    if (!this.#countsMessages) return;
    this.#isGrpcResponse ??= isGrpcContentType(this.responseHeader("content-type"));
    if (this.#isGrpcResponse) this.#responseMessages.read(chunk, from, to);
  }

  get responseFlags(): string {
    return formatFlags(this.flags);
  }

  /** A client behind other proxies has an address, but no port that we know. */
  setRemote(address: string): void {
    const direct = this.downstreamDirectAddress;
    if (address === direct.address) this.downstreamRemoteAddress = direct;
    else if (address !== this.downstreamRemoteAddress.address) {
      this.downstreamRemoteAddress = { address, port: 0 };
    }
  }

  /**
   * Forgets the last request; what belongs to the connection stays. `startMs`: of day, `beginMs` the
   * same by the monotonic clock; `headEndMs`: when the head was there.
   */
  reset(startMs: number, beginMs: number, headEndMs: number): void {
    this.clear();
    this.times.reset(beginMs, headEndMs);
    this.startMs = startMs;
    this.startMonotonicMs = beginMs;
    this.protocol = "HTTP/1.1";
    this.flags = 0;
    this.tellsOperation = false;
    this.responseTrailers = undefined;
    if (this.#isGrpcRequest === true) this.#requestMessages.reset();
    if (this.#isGrpcResponse === true) this.#responseMessages.reset();
    this.#isGrpcRequest = undefined;
    this.#isGrpcResponse = undefined;
  }

  /** Another one is looked for. */
  forgetRoute(): void {
    this.routeName = "";
    this.upstreamCluster = "";
    this.clusterMetadata = undefined;
  }

  /**
   * Bytes have been written: what this turn took is the proxy's own time. Reads the clock, which the
   * turn has not done since it began.
   */
  endTurn(wheel: DeadlineWheel): number {
    const turnMs = wheel.nowMs;
    const nowMs = wheel.touch();
    this.times.ownMs += nowMs - turnMs;
    return nowMs;
  }

  /** The stream has ended. */
  finish(wheel: DeadlineWheel): void {
    const nowMs = this.endTurn(wheel);
    this.times.set(moment.responseEnd, nowMs);
    if (this.protocol === "HTTP/2" && this.grpcStatus === undefined) this.#inferGrpcStatus();
    this.durationMs = nowMs - this.startMonotonicMs;
  }

  /** A call of gRPC whose answer does not say how it went: what its HTTP status means. */
  #inferGrpcStatus(): void {
    if (this.responseCode === 0 || !isGrpcContentType(this.requestHeader("content-type"))) return;
    this.grpcStatus = grpcStatusOf(this.responseCode);
  }

  /** Envoy's count: names and values, `:method`, `:status` and their like among them. */
  headBytes(which: "request" | "response"): number {
    if (which === "response") return this.#response.byteLength + (this.responseCode > 0 ? 10 : 0);
    const { headers } = this.#request;
    const host = headers.has("host") ? "host".length + this.authority.length : 0;
    const pseudo = [":method", ":path", ":authority", ":scheme"].join("").length;
    const values = [this.method, this.path, this.authority, this.scheme].join("").length;
    return headers.byteLength - host + pseudo + values;
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
