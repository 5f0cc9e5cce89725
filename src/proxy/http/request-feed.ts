/** The body of a request on its way to the endpoint of an attempt, and kept where another may need it. */
import { moment } from "../../telemetry/request-times.ts";
import type { BodyKind } from "../../wire/http1-head.ts";
import type { CompiledRoute, KeptBytes, RetryPolicy } from "../engine/route-table.ts";
import { BackPressure } from "./back-pressure.ts";
import type { HttpStream } from "./http-stream.ts";
import { passRequestTrailers } from "./trailer-edits.ts";
import type { UpstreamExchange } from "./upstream-exchange.ts";

export class RequestFeed {
  readonly pressure: BackPressure;
  readonly #stream: HttpStream;
  /** What was sent may have to be sent again. */
  #isReplayable = false;
  /** The head of the attempt is gathered, and not written yet. */
  #isSendTimed = false;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    this.pressure = new BackPressure(stream.connection);
  }

  reset(route: CompiledRoute, retry: RetryPolicy | undefined, bodyKind: BodyKind): void {
    const isCopied = route.mirrors.length > 0 || route.redirects !== undefined;
    this.#isReplayable = isCopied || retry !== undefined || bodyKind === "none";
    if (route.keptBytes !== undefined) this.#limit(route.keptBytes);
  }

  /** What filters have waited for may be there already. */
  #limit({ max, isCapped }: KeptBytes): void {
    const { body, services } = this.#stream;
    body.bytesMax = isCapped ? Math.min(max, services.bufferBytesMax) : max;
  }

  /** An attempt's head is gathered: what has come of the body follows it. */
  start(exchange: UpstreamExchange): void {
    const { body } = this.#stream;
    this.#isSendTimed = true;
    for (const piece of body.pieces) this.#send(exchange, piece, 0, piece.length);
    if (!this.#isReplayable || body.bytes > body.bytesMax) body.forget();
    if (body.isComplete) this.finish(exchange);
  }

  /** More has come; there may be no exchange for it yet. */
  onBody(
    exchange: UpstreamExchange | undefined,
    chunk: Buffer,
    ...[from, to]: [from: number, to: number]
  ): void {
    const { body } = this.#stream;
    const isSent = exchange !== undefined;
    if (isSent) this.#send(exchange, chunk, from, to);
    if (isSent && !(body.isWhole && this.#isReplayable)) return;
    body.keep(chunk, from, to);
    if (body.bytes <= body.bytesMax) return;
    if (isSent) body.forget();
    else this.pressure.pauseDownstream();
  }

  /** All of the body has come; false: there is no exchange for it yet. */
  finish(exchange: UpstreamExchange | undefined): boolean {
    if (exchange === undefined) return false;
    const { record, services, body, pauses } = this.#stream;
    const isHttp2 = record.protocol === "HTTP/2" && record.upstreamProtocol === "HTTP/2";
    const carries = isHttp2 || services.settings.forwardsTrailers;
    const trailers = carries ? body.trailers : undefined;
    exchange.sendEnd(trailers && passRequestTrailers(this.#stream, pauses.filters, trailers));
    record.times.set(moment.sendEnd, services.upstreams.wheel.nowMs);
    return true;
  }

  /** Sends what was gathered. */
  flush(exchange: UpstreamExchange | undefined): void {
    if (exchange === undefined) return;
    if (!exchange.flush()) this.pressure.pauseDownstream();
    if (!this.#isSendTimed) return;
    this.#isSendTimed = false;
    this.#stream.record.endTurn(this.#stream.services.upstreams.wheel);
  }

  #send(
    exchange: UpstreamExchange,
    chunk: Buffer,
    ...[from, to]: [from: number, to: number]
  ): void {
    if (!exchange.sendBody(chunk, from, to)) this.pressure.pauseDownstream();
  }
}
