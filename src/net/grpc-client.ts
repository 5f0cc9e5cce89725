import http2 from "node:http2";
import type { Duplex } from "node:stream";

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import { grpcStatus } from "../wire/grpc.ts";
import { ClientCall } from "./grpc/client-call.ts";
import { dialSocket } from "./grpc/dial.ts";
import { keepAlive } from "./grpc/keepalive.ts";
import { formatGrpcAddress, type GrpcAddress, GrpcError, type GrpcKeepalive } from "./grpc.ts";

/**
 * A thin gRPC client on `node:http2`: one connection, dialled when a call needs it and again after it
 * was lost. It never retries: who calls knows whether it may.
 */
export interface GrpcChannelOptions {
  readonly target: GrpcAddress;
  /** Asked at each dial, so that renewed roots count; absent for plain connections. */
  readonly tls?: () => GrpcClientTls;
  readonly keepalive: GrpcKeepalive;
  readonly clock: Clock;
  /** Until the connection stands, its TLS handshake included. */
  readonly connectTimeoutMs?: number;
  readonly messageBytesMax?: number;
  /** Replaces the plain dial: a proxy's sockets carry a mark. TLS goes on top of what it gives. */
  readonly dial?: (target: GrpcAddress, signal: AbortSignal) => Promise<Duplex>;
}

export interface GrpcClientTls {
  /** PEM, one or more. */
  readonly roots: string;
  /** The DNS name that the server's certificate must carry. */
  readonly serverName: string;
  /** Who we are, where the server asks: PEM, leaf first. */
  readonly certificate?: { readonly chainPem: string; readonly privateKeyPem: string };
}

export interface GrpcCallOptions {
  /** Request headers, lower-case names. */
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface GrpcClientHandler {
  onMessage(message: Uint8Array): void;
  /** Exactly once, last; undefined when the server ended the call with OK. */
  onClose(error: GrpcError | undefined): void;
}

export interface GrpcClientStream {
  /** Sends one message; false when the stream is over. */
  write(message: Uint8Array): boolean;
  /** Says that nothing more will be sent; answers may still come. */
  end(): void;
  /** Ends the call at once; `onClose` follows with `cancelled`. */
  cancel(): void;
  readonly queuedBytes: number;
}

export interface GrpcChannel {
  /** One request, one answer. Rejects with `GrpcError`. */
  unary(
    path: string,
    request: Uint8Array,
    options: GrpcCallOptions & { readonly timeoutMs: number },
  ): Promise<Uint8Array>;
  /** Rejects with `GrpcError` when no connection can be had; then the handler is not called. */
  openStream(
    path: string,
    handler: GrpcClientHandler,
    options?: GrpcCallOptions,
  ): Promise<GrpcClientStream>;
  /** Ends every call; the channel is not used again. */
  close(): void;
}

export function openGrpcChannel(options: GrpcChannelOptions): GrpcChannel {
  return new Http2GrpcChannel(options);
}

const defaultConnectTimeoutMs = 10_000;
const defaultMessageBytesMax = 256 * 1024 * 1024;

class Http2GrpcChannel implements GrpcChannel {
  readonly #options: GrpcChannelOptions;
  #session: Promise<http2.ClientHttp2Session> | undefined;
  #current: http2.ClientHttp2Session | undefined;
  readonly #abort = new AbortController();

  constructor(options: GrpcChannelOptions) {
    this.#options = options;
  }

  async unary(
    path: string,
    request: Uint8Array,
    options: GrpcCallOptions & { readonly timeoutMs: number },
  ): Promise<Uint8Array> {
    const { clock } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    let answer: Uint8Array | undefined;
    let stream: GrpcClientStream | undefined;
    let isLate = false;
    const deadline = clock.schedule(options.timeoutMs, () => {
      isLate = true;
      stream?.cancel();
      reject(new GrpcError(grpcStatus.deadlineExceeded, `no answer in ${options.timeoutMs} ms`));
    });
    const handler: GrpcClientHandler = {
      onMessage: (message) => (answer = message),
      onClose: (error) => {
        if (error !== undefined) reject(error);
        else if (answer !== undefined) resolve(answer);
        else reject(new GrpcError(grpcStatus.internal, "OK without an answer"));
      },
    };
    try {
      stream = await this.#open(path, handler, { ...options, timeoutMs: options.timeoutMs });
      if (isLate) stream.cancel();
      stream.write(request);
      stream.end();
      return await promise;
    } finally {
      deadline.cancel();
      // The deadline may have rejected while the connection was still being made.
      promise.catch(() => {});
    }
  }

  openStream(
    path: string,
    handler: GrpcClientHandler,
    options: GrpcCallOptions = {},
  ): Promise<GrpcClientStream> {
    return this.#open(path, handler, options);
  }

  close(): void {
    this.#abort.abort();
    this.#current?.destroy();
  }

  async #open(
    path: string,
    handler: GrpcClientHandler,
    options: GrpcCallOptions & { readonly timeoutMs?: number },
  ): Promise<GrpcClientStream> {
    const session = await this.#connected();
    return new ClientCall(session, {
      path,
      authority:
        "path" in this.#options.target ? "localhost" : formatGrpcAddress(this.#options.target),
      handler,
      metadata: options.metadata ?? {},
      timeoutMs: options.timeoutMs,
      messageBytesMax: this.#options.messageBytesMax ?? defaultMessageBytesMax,
    });
  }

  #connected(): Promise<http2.ClientHttp2Session> {
    if (this.#session !== undefined) return this.#session;
    const session = this.#connect().catch((error: unknown) => {
      if (this.#session === session) this.#session = undefined;
      const target = formatGrpcAddress(this.#options.target);
      throw new GrpcError(grpcStatus.unavailable, `connecting to ${target}: ${messageOf(error)}`, {
        cause: error,
      });
    });
    this.#session = session;
    return session;
  }

  async #connect(): Promise<http2.ClientHttp2Session> {
    const { target, clock, keepalive } = this.#options;
    const timeoutMs = this.#options.connectTimeoutMs ?? defaultConnectTimeoutMs;
    const abort = new AbortController();
    const stop = (): void => abort.abort(new Error("the channel was closed"));
    this.#abort.signal.throwIfAborted();
    this.#abort.signal.addEventListener("abort", stop, { once: true });
    const timer = clock.schedule(timeoutMs, () => {
      abort.abort(new Error(`no connection in ${timeoutMs} ms`));
    });
    try {
      const socket = await dialSocket({
        target,
        tls: this.#options.tls?.(),
        dial: this.#options.dial,
        signal: abort.signal,
      });
      const session = http2.connect("http://control", {
        createConnection: () => socket,
        maxSessionMemory: 1000,
        settings: { initialWindowSize: 4 * 1024 * 1024, enablePush: false },
      });
      this.#adopt(session, keepalive);
      return session;
    } finally {
      timer.cancel();
      this.#abort.signal.removeEventListener("abort", stop);
    }
  }

  #adopt(session: http2.ClientHttp2Session, keepalive: GrpcKeepalive): void {
    this.#current = session;
    const forget = (): void => {
      if (this.#current !== session) return;
      this.#current = undefined;
      this.#session = undefined;
    };
    // After GOAWAY the streams that are open may finish; new ones need a new connection.
    session.once("goaway", forget);
    session.once("close", forget);
    session.on("error", forget); // each stream reports it
    session.once("connect", () => session.setLocalWindowSize(16 * 1024 * 1024));
    keepAlive(session, keepalive, this.#options.clock);
    if (this.#abort.signal.aborted) session.destroy();
  }
}
