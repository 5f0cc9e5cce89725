import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";

import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../telemetry/logger.ts";
import {
  describeFramingError,
  encodeGrpcMessage,
  GrpcMessageReader,
  grpcPrefix,
  grpcStatus,
  grpcStatusName,
  parseGrpcTimeout,
} from "../../wire/grpc.ts";
import type {
  GrpcCall,
  GrpcMethod,
  GrpcServerLimits,
  GrpcServerStream,
  GrpcStreamHandler,
} from "../grpc-server.ts";
import { GrpcError } from "../grpc.ts";
import { sessionOverEvent } from "./session-over.ts";

/** What one call needs from its server. */
export interface StreamContext {
  readonly peer: string;
  readonly method: GrpcMethod | undefined;
  readonly limits: GrpcServerLimits;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onLimit: (limit: string) => void;
  readonly onAuthenticated: () => void;
}

/** Answers one HTTP/2 stream as a gRPC call. Never throws. */
export function serveStream(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  context: StreamContext,
): void {
  const call = new Call(stream, headers, context);
  call.start();
}

class Call implements GrpcServerStream {
  readonly peer: string;
  readonly isLoopback: boolean;
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #context: StreamContext;
  readonly #reader: GrpcMessageReader;
  #handler: GrpcStreamHandler | undefined;
  #status: GrpcError | "ok" | undefined;
  #failure: string | undefined;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, context: StreamContext) {
    this.#stream = stream;
    this.#headers = headers;
    this.#context = context;
    this.#reader = new GrpcMessageReader(context.limits.messageBytesMax);
    this.peer = context.peer;
    this.isLoopback = /^(127\.|\[?::1|unix|::ffff:127\.)/.test(context.peer);
  }

  start(): void {
    const stream = this.#stream;
    const endWithSession = (): void => this.finish();
    stream.session?.once(sessionOverEvent, endWithSession);
    stream.on("error", (error) => (this.#failure = error.message));
    stream.on("close", () => {
      stream.session?.off(sessionOverEvent, endWithSession);
      this.#onClose();
    });
    const refusal = this.#refusal();
    if (refusal !== undefined) {
      stream.respond(refusal, { endStream: true });
      stream.resume();
      return;
    }
    stream.on("wantTrailers", () => stream.sendTrailers(this.#trailers()));
    try {
      this.#handler = this.#openHandler();
    } catch (error) {
      this.finish(this.#toGrpcError(error));
      stream.resume();
      return;
    }
    if (!stream.headersSent && !stream.destroyed) this.#respond();
    stream.on("data", (chunk: Buffer) => this.#onData(chunk));
    stream.on("end", () => this.#onEnd());
  }

  metadata(name: string): string | undefined {
    const value = this.#headers[name];
    return Array.isArray(value) ? value.join(",") : value;
  }

  markAuthenticated(): void {
    this.#context.onAuthenticated();
  }

  get queuedBytes(): number {
    return this.#stream.writableLength;
  }

  write(parts: readonly Uint8Array[]): boolean {
    const stream = this.#stream;
    if (stream.destroyed || this.#status !== undefined) return false;
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (stream.writableLength + bytes > this.#context.limits.queuedBytesMax) {
      this.#context.onLimit("queued-bytes");
      this.finish(new GrpcError(grpcStatus.resourceExhausted, "the client reads too slowly"));
      // What is queued would be sent before the status; a reader this slow must not hold it.
      stream.close(0x8);
      return false;
    }
    stream.cork();
    stream.write(grpcPrefix(bytes));
    // Node turns each write of a corked stream into one entry of one writev.
    for (const part of parts) stream.write(part);
    stream.uncork();
    return true;
  }

  finish(error?: GrpcError): void {
    const stream = this.#stream;
    if (this.#status !== undefined || stream.destroyed) return;
    this.#status = error ?? "ok";
    if (stream.headersSent) stream.end();
    else stream.respond({ ...responseHeaders, ...this.#trailers() }, { endStream: true });
  }

  #refusal(): Record<string, string | number> | undefined {
    const type = this.metadata("content-type") ?? "";
    if (this.#headers[":method"] !== "POST") return { ":status": 405, allow: "POST" };
    if (!/^application\/grpc(\+proto)?($|;)/.test(type)) return { ":status": 415 };
    return undefined;
  }

  #openHandler(): GrpcStreamHandler {
    const { method } = this.#context;
    if (method === undefined) {
      const path = String(this.#headers[":path"]).slice(0, 200);
      throw new GrpcError(grpcStatus.unimplemented, `no method ${path}`);
    }
    return method.kind === "stream" ? method.open(this) : this.#unaryHandler(method.handle);
  }

  #unaryHandler(
    handle: (request: Uint8Array, call: GrpcCall) => Promise<Uint8Array>,
  ): GrpcStreamHandler {
    let request: Uint8Array | undefined;
    const timeoutMs = parseGrpcTimeout(this.metadata("grpc-timeout"));
    const deadline =
      timeoutMs === undefined
        ? undefined
        : this.#context.clock.schedule(Math.min(timeoutMs, 2 ** 31 - 1), () =>
            this.finish(new GrpcError(grpcStatus.deadlineExceeded, "deadline exceeded")),
          );
    return {
      onMessage: (message) => {
        if (request === undefined) request = message;
        else
          this.finish(new GrpcError(grpcStatus.invalidArgument, "more than one request message"));
      },
      onEnd: () => {
        if (request === undefined) {
          this.finish(new GrpcError(grpcStatus.invalidArgument, "no request message"));
          return;
        }
        handle(request, this).then(
          (response) => {
            if (this.write([response])) this.finish();
          },
          (error: unknown) => this.finish(this.#toGrpcError(error)),
        );
      },
      onClose: () => deadline?.cancel(),
    };
  }

  #onData(chunk: Buffer): void {
    const error = this.#reader.read(chunk, (message) => {
      if (this.#status === undefined) this.#guard(() => this.#handler?.onMessage(message));
    });
    if (error === undefined) return;
    if (error.kind === "too-long") this.#context.onLimit("message-bytes");
    const { code, message } = describeFramingError(error);
    this.finish(new GrpcError(code, message));
  }

  #onEnd(): void {
    if (this.#reader.isPartial) {
      this.finish(new GrpcError(grpcStatus.internal, "the stream ended inside a message"));
    } else if (this.#handler?.onEnd === undefined) {
      this.finish();
    } else {
      this.#guard(() => this.#handler?.onEnd?.());
    }
  }

  #onClose(): void {
    const orderly = this.#status !== undefined;
    const reason = this.#failure ?? `reset with code ${this.#stream.rstCode}`;
    this.#status ??= "ok";
    try {
      this.#handler?.onClose(orderly ? undefined : reason);
    } catch (error) {
      this.#context.log.error("a call failed while closing", { reason: messageOf(error) });
    }
  }

  /** A handler's mistake ends its own call and no other. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.finish(this.#toGrpcError(error));
    }
  }

  #toGrpcError(error: unknown): GrpcError {
    if (error instanceof GrpcError) return error;
    this.#context.log.error("a call failed", {
      path: String(this.#headers[":path"]).slice(0, 200),
      reason: messageOf(error),
      stack: error instanceof Error ? error.stack : undefined,
    });
    return new GrpcError(grpcStatus.internal, "internal error");
  }

  #respond(): void {
    this.#stream.respond(responseHeaders, { waitForTrailers: true });
  }

  #trailers(): Record<string, string> {
    const status = this.#status ?? "ok";
    if (status === "ok") return { "grpc-status": "0" };
    const message = status.message === "" ? grpcStatusName(status.code) : status.message;
    return {
      "grpc-status": String(status.code),
      "grpc-message": encodeGrpcMessage(message.slice(0, 2000)),
    };
  }
}

const responseHeaders = {
  ":status": 200,
  "content-type": "application/grpc",
  "grpc-accept-encoding": "identity",
} as const;
