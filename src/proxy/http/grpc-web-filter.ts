/**
 * Envoy's `grpc_web` filter: a browser's call of gRPC-Web is one of gRPC for its server. Bodies pass as
 * they come, in base64 where that is asked for; trailers are the last frame of the answer's body. An answer that
 * is none of gRPC's is told as a status.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import { Base64Reader, GrpcFrameTextWriter, grpcWebTrailers } from "../../wire/grpc-web.ts";
import { GrpcWeb } from "../../wire/gen/ts/envoy/extensions/filters/http/grpc_web/v3/grpc_web.ts";
import { honouredGrpcWeb } from "../config/honoured-http-filters.ts";
import { honoured } from "../config/honoured.ts";
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import { grpcStatusOf } from "./failure.ts";
import type { BodyCoder, FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";
import { encodeGrpcMessage } from "./grpc-message.ts";
import { type CallSeries, GrpcSeries } from "./grpc-series.ts";
import type { GrpcFilterPlace } from "./grpc-stats-filter.ts";

const textTypes: ReadonlySet<string> = new Set([
  "application/grpc-web-text",
  "application/grpc-web-text+proto",
]);
const types: ReadonlySet<string> = new Set([
  "application/grpc-web",
  "application/grpc-web+proto",
  ...textTypes,
]);
/** Of an answer that is none of gRPC's; what is beyond is not told. */
const toldBytesMax = 16 * 1024;

export function createGrpcWebFilter(bytes: Uint8Array, place: GrpcFilterPlace): HttpFilter {
  honoured(GrpcWeb.decode(bytes), honouredGrpcWeb, place.path);
  const { clusters } = place;
  const series = new GrpcSeries(place.metrics, {
    protocol: "grpc_web",
    isNamed: () => true,
    replacesDots: false,
  });
  return {
    name: place.name,
    onRequest(stream) {
      const { request, outcome } = stream;
      const type = request.header("content-type");
      if (type === undefined || !types.has(type)) return "continue";
      const cluster = outcome.kind === "forward" ? clusters.get(outcome.cluster) : undefined;
      const calls = cluster === undefined ? undefined : series.of(cluster, request.path);
      const call = new GrpcWebCall(stream, textTypes.has(type), calls);
      stream.coder = call;
      return call.begin();
    },
    onStreamEnd({ coder }) {
      if (coder instanceof GrpcWebCall) coder.count();
    },
  };
}

class GrpcWebCall implements BodyCoder {
  readonly #stream: FilterStream;
  readonly #calls: CallSeries | undefined;
  readonly #request: Base64Reader | undefined;
  readonly #answer: GrpcFrameTextWriter | undefined;
  /** Of an answer that is none of gRPC's; undefined for one that is. */
  #told: Buffer[] | undefined;
  #toldBytes = 0;
  #isTranslated = false;

  constructor(stream: FilterStream, isText: boolean, calls: CallSeries | undefined) {
    this.#stream = stream;
    this.#calls = calls;
    this.#request = isText ? new Base64Reader() : undefined;
    const accepted = stream.request.header("accept") ?? "";
    this.#answer = textTypes.has(accepted) ? new GrpcFrameTextWriter() : undefined;
  }

  /** Makes the request one of gRPC. */
  begin(): FilterVerdict {
    const { request, body } = this.#stream;
    const { headers } = request;
    const { head } = headers;
    // Its length is that of other bytes.
    headers.remove("content-length");
    if (head?.bodyKind === "length") {
      head.bodyKind = "chunked";
      headers.add("transfer-encoding", "chunked");
    }
    headers.set("content-type", "application/grpc");
    headers.set("te", "trailers");
    if (!headers.has("grpc-accept-encoding")) headers.set("grpc-accept-encoding", "identity");
    const reader = this.#request;
    const isSound =
      reader === undefined || body.recode((piece) => reader.read(piece, 0, piece.length));
    if (isSound && !(body.isComplete && this.refusesEnd())) return "continue";
    if (!isSound) this.#refuse("grpc_base_64_decode_failed");
    return "answered";
  }

  onRequestBody(chunk: Buffer, from: number, to: number): void {
    const { record } = this.#stream;
    record.bytesReceived += to - from;
    const reader = this.#request;
    if (reader === undefined) {
      record.onRequestMessages(chunk, from, to);
      return this.#stream.passBody(chunk, from, to);
    }
    if (!this.#stream.isActive) return;
    const bytes = reader.read(chunk, from, to);
    if (bytes === undefined) return this.#refuse("grpc_base_64_decode_failed");
    record.onRequestMessages(bytes, 0, bytes.length);
    if (bytes.length > 0) this.#stream.passBody(bytes, 0, bytes.length);
  }

  refusesEnd(): boolean {
    if (this.#request?.isWhole !== false) return false;
    this.#refuse("grpc_base_64_decode_failed_bad_size");
    return true;
  }

  #refuse(details: string): void {
    const stream = this.#stream;
    if (stream.isResponseStarted) return stream.breakResponse(details);
    stream.reply("direct", {
      status: 400,
      body: "Bad gRPC-web request, invalid base64 data.",
      details,
    });
  }

  beginAnswer(head: Http1Head): boolean {
    const { responseHeaders: headers, record } = this.#stream;
    const isEnd = head.bodyKind === "none";
    const type = headers.get("content-type");
    const isGrpc = isEnd ? headers.has("grpc-status") : head.status === 200 && speaksGrpc(type);
    record.isGrpcAnswer = head.status === 200 && isGrpcContentType(type);
    const hadLength = head.findId(known.contentLength) >= 0;
    head.dropId(known.contentLength);
    headers.set("content-type", this.#type);
    if (isEnd) head.lacksLength ||= hadLength;
    else if (isGrpc && head.bodyKind === "length") head.bodyKind = "until-close";
    if (isEnd || isGrpc) return false;
    this.#told = [];
    this.#isTranslated = true;
    head.bodyKind = "none";
    return true;
  }

  get #type(): string {
    return this.#answer === undefined
      ? "application/grpc-web+proto"
      : "application/grpc-web-text+proto";
  }

  encode(chunk: Buffer, from: number, to: number): Buffer {
    if (this.#told === undefined) {
      return this.#answer?.write(chunk, from, to) ?? chunk.subarray(from, to);
    }
    const piece = chunk.subarray(from, Math.min(to, from + toldBytesMax - this.#toldBytes));
    if (piece.length > 0) this.#told.push(Buffer.from(piece));
    this.#toldBytes += piece.length;
    return noBytes;
  }

  endAnswer(trailers: Http1Head | undefined): Buffer {
    if (this.#told !== undefined) {
      this.#translate(this.#stream.record.responseCode, Buffer.concat(this.#told));
      return noBytes;
    }
    const rest = this.#answer?.end() ?? noBytes;
    if (trailers === undefined) return rest;
    const frame = grpcWebTrailers(trailers);
    const text = this.#answer === undefined ? frame : Buffer.from(frame.toString("base64"));
    return rest.length === 0 ? text : Buffer.concat([rest, text]);
  }

  ownAnswer(status: number, body: string): string {
    this.#stream.responseHeaders.set("content-type", this.#type);
    this.#isTranslated = true;
    if (body !== "") this.#translate(status, Buffer.from(body, "latin1"));
    return "";
  }

  /** Says in gRPC's terms what an answer of another kind means. */
  #translate(status: number, body: Buffer): void {
    const { responseHeaders: headers, record } = this.#stream;
    record.grpcStatus = grpcStatusOf(status);
    headers.set("grpc-status", String(record.grpcStatus));
    headers.set("grpc-message", encodeGrpcMessage(body.toString("utf8")));
    headers.set("content-length", "0");
  }

  /** The stream has ended. */
  count(): void {
    const { toldGrpcStatus } = this.#stream.record;
    if (toldGrpcStatus !== undefined && !this.#isTranslated) this.#calls?.onStatus(toldGrpcStatus);
  }
}

const noBytes = Buffer.alloc(0);
const webType = /^application\/grpc-web(?:\+proto)?\s*(?:;|$)/i;

function speaksGrpc(type: string | undefined): boolean {
  return isGrpcContentType(type) || (type !== undefined && webType.test(type));
}
