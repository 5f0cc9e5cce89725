import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";

import {
  decodeGrpcMessage,
  describeFramingError,
  formatGrpcTimeout,
  GrpcMessageReader,
  grpcPrefix,
  grpcStatus,
  grpcStatusName,
  parseGrpcStatus,
} from "../../wire/grpc.ts";
import type { GrpcClientHandler, GrpcClientStream } from "../grpc-client.ts";
import { GrpcError, statusOfReset } from "../grpc.ts";

export interface ClientCallOptions {
  readonly path: string;
  readonly authority: string;
  readonly handler: GrpcClientHandler;
  readonly metadata: Readonly<Record<string, string>>;
  readonly timeoutMs: number | undefined;
  readonly messageBytesMax: number;
}

/** One call on a session. The status is decided once: by trailers, by us, or by how it broke. */
export class ClientCall implements GrpcClientStream {
  readonly #session: ClientHttp2Session;
  readonly #stream: ClientHttp2Stream;
  readonly #handler: GrpcClientHandler;
  readonly #reader: GrpcMessageReader;
  #outcome: GrpcError | "ok" | undefined;
  #failure: string | undefined;

  constructor(session: ClientHttp2Session, options: ClientCallOptions) {
    this.#session = session;
    this.#handler = options.handler;
    this.#reader = new GrpcMessageReader(options.messageBytesMax);
    const timeout =
      options.timeoutMs === undefined
        ? {}
        : { "grpc-timeout": formatGrpcTimeout(options.timeoutMs) };
    this.#stream = session.request({
      ...options.metadata,
      ...timeout,
      ":method": "POST",
      ":path": options.path,
      ":authority": options.authority,
      "content-type": "application/grpc",
      te: "trailers",
      "grpc-accept-encoding": "identity",
      "user-agent": "heddle",
    });
    this.#stream.on("response", (headers) => this.#onHeaders(headers));
    this.#stream.on("trailers", (trailers: IncomingHttpHeaders) => this.#onTrailers(trailers));
    this.#stream.on("data", (chunk: Buffer) => this.#onData(chunk));
    this.#stream.on("error", (error) => (this.#failure = error.message));
    this.#stream.once("close", () => this.#onClose());
  }

  get queuedBytes(): number {
    return this.#stream.writableLength;
  }

  write(message: Uint8Array): boolean {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed || this.#outcome !== undefined) return false;
    stream.cork();
    stream.write(grpcPrefix(message.length));
    stream.write(message);
    stream.uncork();
    return true;
  }

  end(): void {
    if (!this.#stream.destroyed) this.#stream.end();
  }

  cancel(): void {
    this.#fail(new GrpcError(grpcStatus.cancelled, "cancelled"));
  }

  #onHeaders(headers: IncomingHttpHeaders): void {
    const httpStatus = Number(headers[":status"]);
    if (headers["grpc-status"] !== undefined) this.#onTrailers(headers);
    else if (httpStatus !== 200) {
      this.#fail(new GrpcError(statusOfHttp(httpStatus), `HTTP status ${httpStatus}`));
    } else if (headers["content-type"]?.startsWith("application/grpc") !== true) {
      this.#fail(new GrpcError(grpcStatus.unknown, "the answer is not gRPC"));
    }
  }

  #onTrailers(trailers: IncomingHttpHeaders): void {
    const code = parseGrpcStatus(textOf(trailers["grpc-status"]));
    const message = decodeGrpcMessage(textOf(trailers["grpc-message"]) ?? "");
    this.#outcome ??=
      code === grpcStatus.ok ? "ok" : new GrpcError(code, message || grpcStatusName(code));
    // The server may leave our half open; it wants no more of it.
    this.#stream.end();
  }

  #onData(chunk: Buffer): void {
    const error = this.#reader.read(chunk, (message) => {
      if (this.#outcome === undefined) this.#handler.onMessage(message);
    });
    if (error === undefined) return;
    const { code, message } = describeFramingError(error);
    this.#fail(new GrpcError(code, message));
  }

  #fail(error: GrpcError): void {
    this.#outcome ??= error;
    this.#stream.close(0x8);
  }

  #onClose(): void {
    this.#outcome ??= this.#broken();
    this.#handler.onClose(this.#outcome === "ok" ? undefined : this.#outcome);
  }

  #broken(): GrpcError {
    const { rstCode } = this.#stream;
    const failure = this.#failure;
    // Node closes the streams of a lost connection with CANCEL, which nobody has asked for.
    if (this.#session.destroyed && (rstCode === 0x8 || rstCode === 0)) {
      return new GrpcError(grpcStatus.unavailable, failure ?? "the connection was lost");
    }
    if (rstCode === 0) {
      return new GrpcError(grpcStatus.unavailable, failure ?? "the stream was closed");
    }
    const isBroken = rstCode === 0x2 && failure !== undefined;
    const code = isBroken ? grpcStatus.unavailable : statusOfReset(rstCode);
    return new GrpcError(code, failure ?? `reset with code ${rstCode}`);
  }
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

function statusOfHttp(status: number): GrpcError["code"] {
  switch (status) {
    case 400:
      return grpcStatus.internal;
    case 401:
      return grpcStatus.unauthenticated;
    case 403:
      return grpcStatus.permissionDenied;
    case 404:
      return grpcStatus.unimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return grpcStatus.unavailable;
    default:
      return grpcStatus.unknown;
  }
}
