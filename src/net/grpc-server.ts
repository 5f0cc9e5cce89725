import http2 from "node:http2";
import type { Server, Socket } from "node:net";

import type { Clock, Timer } from "../base/clock.ts";
import { HeddleError, messageOf } from "../base/error.ts";
import type { Logger } from "../telemetry/logger.ts";
import { guardDoor, peerOf, peerOfHandshake, serverNameOf } from "./grpc/door.ts";
import { keepAlive } from "./grpc/keepalive.ts";
import { serveStream } from "./grpc/server-stream.ts";
import { sessionOverEvent } from "./grpc/session-over.ts";
import { formatGrpcAddress, type GrpcAddress, type GrpcError, type GrpcKeepalive } from "./grpc.ts";
import { makePrivateSocket, removeStaleSocket } from "./unix-socket.ts";

/**
 * A thin gRPC server on `node:http2`: unary and bidirectional calls whose messages are bytes, so that
 * a message encoded once goes to a thousand streams. No reflection, no compression, no service
 * definitions.
 */
export interface GrpcServerOptions {
  /** A Unix socket is made with mode 0600; one that nobody listens on any more is replaced. */
  readonly listen: GrpcAddress;
  /** TLS 1.3 only; absent on loopback and Unix sockets. */
  readonly tls?: GrpcServerTls;
  readonly methods: readonly GrpcMethod[];
  readonly limits?: Partial<GrpcServerLimits>;
  readonly keepalive: GrpcKeepalive;
  readonly clock: Clock;
  readonly log: Logger;
  /**
   * Counts what the limits refused: `connections`, `connections-per-address`, `unauthenticated`,
   * `streams`, `message-bytes`, `queued-bytes`; with `address:port` where a connection was closed.
   */
  readonly onLimit?: (limit: string, peer?: string) => void;
  readonly onHandshakeFailure?: (failure: GrpcHandshakeFailure) => void;
}

/** A TLS handshake that failed. The server asks for no certificate, so nobody presents one. */
export interface GrpcHandshakeFailure {
  /** `address:port`. */
  readonly peer: string;
  /** Undefined when the client named nothing, or was refused before its names were read. */
  readonly sni: string | undefined;
  readonly reason: string;
}

export interface GrpcServerTls {
  /** PEM. */
  readonly key: string;
  /** PEM, leaf first. */
  readonly chain: string;
}

export interface GrpcServerLimits {
  readonly connectionsMax: number;
  /** 0 is any number, as for addresses that many share. */
  readonly connectionsPerAddressMax: number;
  /** A connection none of whose calls was said to be authenticated is closed after this; 0 is never. */
  readonly unauthenticatedMs: number;
  readonly streamsPerConnectionMax: number;
  readonly messageBytesMax: number;
  /** What may wait for a slow reader on one stream; beyond it, the stream ends. */
  readonly queuedBytesMax: number;
  /** A connection without a stream is closed after this. */
  readonly idleConnectionMs: number;
  /** Connections are told to go after this, ±10 %, so that load spreads over control planes. */
  readonly connectionAgeMaxMs: number;
  /** What a TLS handshake may take. */
  readonly handshakeTimeoutMs: number;
}

export const defaultGrpcServerLimits: GrpcServerLimits = {
  connectionsMax: 4096,
  connectionsPerAddressMax: 0,
  unauthenticatedMs: 0,
  streamsPerConnectionMax: 64,
  messageBytesMax: 16 * 1024 * 1024,
  queuedBytesMax: 256 * 1024 * 1024,
  idleConnectionMs: 60_000,
  connectionAgeMaxMs: 30 * 60_000,
  handshakeTimeoutMs: 10_000,
};

export type GrpcMethod =
  | {
      readonly kind: "unary";
      /** `/package.Service/Method`. */
      readonly path: string;
      /** Rejects with `GrpcError` for a status of its own; anything else is `internal` and logged. */
      readonly handle: (request: Uint8Array, call: GrpcCall) => Promise<Uint8Array>;
    }
  | {
      readonly kind: "stream";
      readonly path: string;
      /** Throws `GrpcError` to refuse the call. */
      readonly open: (stream: GrpcServerStream) => GrpcStreamHandler;
    };

export interface GrpcCall {
  /** A header of the request, by lower-case name. */
  metadata(name: string): string | undefined;
  /** `address:port`, or `unix`. */
  readonly peer: string;
  readonly isLoopback: boolean;
  /** Whose call this is, is known: its connection may stay. */
  markAuthenticated(): void;
}

export interface GrpcServerStream extends GrpcCall {
  /**
   * Sends one message, given in parts that are written as they are; the caller must not change them
   * afterwards. False when the stream is over, or ends here because too much waits.
   */
  write(parts: readonly Uint8Array[]): boolean;
  /** Bytes written that the peer has not taken yet. */
  readonly queuedBytes: number;
  /** Ends the call with a status; without one, with OK. */
  finish(error?: GrpcError): void;
}

export interface GrpcStreamHandler {
  onMessage(message: Uint8Array): void;
  /** The client has said all it will; the default is to end the call with OK. */
  onEnd?(): void;
  /** Exactly once, last; `reason` when it was not we who ended the call. */
  onClose(reason: string | undefined): void;
}

export interface GrpcServer {
  readonly address: GrpcAddress;
  readonly connections: number;
  /** New connections get this certificate; those that are open keep theirs. */
  replaceTls(tls: GrpcServerTls): void;
  close(): Promise<void>;
}

/** Listens; rejects with `net.listen-failed` and the reason in a sentence. */
export function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const server = new Http2GrpcServer(options);
  return server.listen();
}

class Http2GrpcServer implements GrpcServer {
  readonly #options: GrpcServerOptions;
  readonly #limits: GrpcServerLimits;
  readonly #server: http2.Http2Server | http2.Http2SecureServer;
  readonly #secure: http2.Http2SecureServer | undefined;
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  /** Ends of sessions that have not said whose they are. */
  readonly #strangers = new WeakMap<http2.Http2Session, Timer>();
  readonly #methods: ReadonlyMap<string, GrpcMethod>;
  #address: GrpcAddress;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    this.#limits = { ...defaultGrpcServerLimits, ...options.limits };
    this.#address = options.listen;
    this.#methods = new Map(options.methods.map((method) => [method.path, method]));
    const common = {
      // Node's default of 10 MB refuses streams while a large response waits; our own limits bound it.
      maxSessionMemory: 1000,
      settings: {
        maxConcurrentStreams: this.#limits.streamsPerConnectionMax,
        initialWindowSize: 1024 * 1024,
        enablePush: false,
        maxHeaderListSize: 16 * 1024,
      },
    };
    const { tls } = options;
    if (tls === undefined) {
      this.#server = http2.createServer(common);
    } else {
      this.#secure = http2.createSecureServer({
        ...common,
        ...secureContextOf(tls),
        ALPNProtocols: ["h2"],
        handshakeTimeout: this.#limits.handshakeTimeoutMs,
      });
      this.#server = this.#secure;
    }
    guardDoor(this.#server, {
      perAddressMax: this.#limits.connectionsPerAddressMax,
      onRefused: (peer) => options.onLimit?.("connections-per-address", peer),
    });
    this.#wire(this.#server);
  }

  get address(): GrpcAddress {
    return this.#address;
  }

  get connections(): number {
    return this.#sessions.size;
  }

  replaceTls(tls: GrpcServerTls): void {
    this.#secure?.setSecureContext(secureContextOf(tls));
  }

  async listen(): Promise<GrpcServer> {
    const { listen } = this.#options;
    if (!("path" in listen)) return await this.#bind();
    await removeStaleSocket(listen.path);
    await this.#bind();
    await makePrivateSocket(listen.path);
    return this;
  }

  #bind(): Promise<GrpcServer> {
    const { listen } = this.#options;
    const target = "path" in listen ? listen : { host: listen.address, port: listen.port };
    const server: Server = this.#server;
    server.maxConnections = this.#limits.connectionsMax;
    server.on("drop", () => this.#options.onLimit?.("connections"));
    return new Promise((resolve, reject) => {
      const refuse = (error: Error): void => {
        const message = `listening on ${formatGrpcAddress(listen)}: ${error.message}`;
        reject(new HeddleError("net.listen-failed", message, { cause: error }));
      };
      server.once("error", refuse);
      server.listen(target, () => {
        server.off("error", refuse);
        server.on("error", (error) =>
          this.#options.log.error("listener failed", { reason: error.message }),
        );
        const bound = server.address();
        if (bound !== null && typeof bound === "object") {
          this.#address = { address: bound.address, port: bound.port };
        }
        resolve(this);
      });
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const session of this.#sessions) session.destroy();
    });
  }

  #wire(server: http2.Http2Server | http2.Http2SecureServer): void {
    server.on("session", (session) => this.#onSession(session));
    server.on("sessionError", (error: Error) => {
      this.#options.log.debug("connection failed", { reason: error.message });
    });
    server.on("tlsClientError", (error: Error, socket: Socket) => {
      const reason = messageOf(error).trim();
      const sni = serverNameOf(socket);
      this.#options.onHandshakeFailure?.({ peer: peerOfHandshake(socket), sni, reason });
    });
    // A peer without ALPN h2 would otherwise be given an HTTP/1.1 answer.
    server.on("unknownProtocol", (socket: Socket) => {
      const reason = "no common application protocol";
      const sni = serverNameOf(socket);
      this.#options.onHandshakeFailure?.({ peer: peerOfHandshake(socket), sni, reason });
      socket.destroy();
    });
    server.on("stream", (stream, headers) => {
      const { session } = stream;
      serveStream(stream, headers, {
        peer: session === undefined ? "gone" : peerOf(session.socket),
        onAuthenticated: () => {
          if (session !== undefined) this.#strangers.get(session)?.cancel();
        },
        method: this.#methods.get(String(headers[":path"])),
        limits: this.#limits,
        clock: this.#options.clock,
        log: this.#options.log,
        onLimit: this.#options.onLimit ?? (() => {}),
      });
    });
  }

  #onSession(session: http2.ServerHttp2Session): void {
    const { clock, keepalive } = this.#options;
    this.#sessions.add(session);
    session.setLocalWindowSize(4 * 1024 * 1024);
    keepAlive(session, keepalive, clock);
    const timers: Timer[] = [
      clock.schedule(this.#limits.connectionAgeMaxMs * (0.9 + Math.random() * 0.2), () => {
        session.goaway();
        session.emit(sessionOverEvent);
        session.close();
      }),
    ];
    const stranger = this.#closeStranger(session);
    if (stranger !== undefined) timers.push(stranger);
    this.#closeWhenIdle(session, timers);
    session.on("error", () => {}); // reported by "sessionError"
    session.once("close", () => {
      this.#sessions.delete(session);
      for (const timer of timers) timer.cancel();
    });
  }

  #closeStranger(session: http2.ServerHttp2Session): Timer | undefined {
    const { unauthenticatedMs } = this.#limits;
    if (unauthenticatedMs === 0) return undefined;
    const peer = peerOf(session.socket);
    const timer = this.#options.clock.schedule(unauthenticatedMs, () => {
      this.#options.onLimit?.("unauthenticated", peer);
      // Not close(): that waits for streams, which may never say anything.
      session.destroy();
    });
    this.#strangers.set(session, timer);
    return timer;
  }

  #closeWhenIdle(session: http2.ServerHttp2Session, timers: Timer[]): void {
    let streams = 0;
    const start = (): Timer =>
      this.#options.clock.schedule(this.#limits.idleConnectionMs, () => session.close());
    let idle = start();
    timers.push({ cancel: () => idle.cancel() });
    session.on("stream", (stream) => {
      streams += 1;
      idle.cancel();
      stream.once("close", () => {
        streams -= 1;
        if (streams === 0 && !session.closed) idle = start();
      });
    });
  }
}

function secureContextOf(tls: GrpcServerTls): {
  readonly key: string;
  readonly cert: string;
  readonly minVersion: "TLSv1.3";
} {
  return { key: tls.key, cert: tls.chain, minVersion: "TLSv1.3" };
}
