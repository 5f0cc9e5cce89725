/**
 * The endpoint's side of one request, whichever protocol it speaks: a whole HTTP/1.1 connection, or a
 * stream of one that carries many (`../http2/`). And whoever asks for it.
 */
import type { Channel, ChannelError } from "../../net/channel.ts";
import type { BodyKind, Http1Head } from "../../wire/http1-head.ts";
import type { UpstreamCluster } from "../context.ts";
import type { AttemptFields, OutgoingRequest, UpstreamTarget } from "./request-head-writer.ts";
import type { StreamRecord } from "./stream-record.ts";

export interface UpstreamExchange {
  /** Of the final answer. */
  readonly head: Http1Head;
  /** Behind the answer's content, once that has ended. */
  readonly answerTrailers: Http1Head | undefined;
  /** Its connection has carried other requests. */
  readonly isReused: boolean;
  /** The connection that carries it. */
  readonly carrier: Channel | undefined;
  /** Gathered, and not taken by the connection yet. */
  readonly queuedBytes: number;
  /** Whether a byte of the answer has arrived. */
  readonly hasAnswered: boolean;
  /** When the first byte of the answer came. */
  readonly answeredMs: number;
  /** What the record of a request says of the connection that carries it. */
  describe(record: StreamRecord): void;
  /** Gathers the request's head: its content and, once, its end follow. */
  sendHead(
    request: OutgoingRequest,
    target: Readonly<UpstreamTarget>,
    attempt: AttemptFields,
    bodyKind: BodyKind,
  ): void;
  /** `chunk[from, to)` is the caller's again afterwards; false when the endpoint is slow. */
  sendBody(chunk: Buffer, from: number, to: number): boolean;
  sendEnd(trailers: Http1Head | undefined): void;
  /** Sends what was gathered; false when the endpoint is slow, until `onUpstreamDrain()`. */
  flush(): boolean;
  /** Another hears what comes from now on; not from within a call to the user. */
  handTo(user: UpstreamUser): void;
  /** The user gives up, and is told nothing any more. */
  abandon(): void;
  /** The answer's content shall wait. */
  pause(): void;
  resume(): void;
}

/** An exchange that carries another protocol from now on. */
export interface UpgradedExchange {
  readonly head: Http1Head;
  /** We have broken it off, because it lasted longer than its cluster lets one last. */
  readonly isOverlong: boolean;
  /** The connection, or stream, as the caller's alone; it counts against limits until it is closed. */
  surrender(): Channel | undefined;
  /** It is closed: because the peer has ended it, or not. */
  onTunnelClosed(error: ChannelError | undefined, hasPeerEnded: boolean): void;
  abandon(): void;
}

/**
 * `no-pool`: the cluster has as many pools as it may. `no-upgrade`: the endpoint allows none.
 * `no-address`: the endpoint is a name that does not resolve.
 */
export type PoolFailure =
  | "overflow"
  | "no-address"
  | "no-pool"
  | "no-upgrade"
  | "connect-failure"
  | "connect-timeout";

/** Code of the error with which a tunnel closes whose stream the endpoint has reset. */
export const streamReset = "stream-reset";

/**
 * `refused`: the endpoint says that it has done nothing for the request. `overlong`: we broke it off,
 * because it lasted longer than its cluster lets one last.
 */
export type UpstreamReset = "termination" | "protocol" | "remote" | "refused" | "overlong";

/** Whoever wants an exchange: one attempt of one request. */
export interface UpstreamUser {
  readonly isHeadRequest: boolean;
  /** It asks to switch to another protocol. */
  readonly isUpgradeRequest: boolean;
  /** After the answer's head both sides say what they like, for as long as they like. */
  readonly isTunnel?: boolean;
  /** The exchange is the user's from now on; it sends its request. */
  onAttached(exchange: UpstreamExchange): void;
  onPoolFailure(failure: PoolFailure, error: ChannelError | undefined): void;
  /** An answer that is not the final one: 100, 102, 103. */
  onInterim(status: number): void;
  /** The head of the answer is complete. The user may `abandon()` the exchange here. */
  onResponseHead(exchange: UpstreamExchange): void;
  /**
   * The other protocol, or the tunnel, that was asked for begins, in place of an answer; `rest` are bytes
   * of it. The user surrenders the exchange, or abandons it.
   */
  onUpgraded(upgraded: UpgradedExchange, rest: Buffer): void;
  onResponseData(chunk: Buffer, from: number, to: number): void;
  onResponseEnd(): void;
  /** After `onResponseEnd()`, when the connection is free again. */
  onReleased(): void;
  /** What was told during one chunk should be written now. */
  onResponseFlush(): void;
  onUpstreamReset(kind: UpstreamReset, error: ChannelError | undefined): void;
  onUpstreamDrain(): void;
}

/** Where exchanges with one endpoint come from. */
export interface UpstreamPool {
  /**
   * Calls `user.onAttached` (perhaps at once) or `user.onPoolFailure` (perhaps at once). `isFresh`: a
   * connection that has carried a request will not do.
   */
  acquire(user: UpstreamUser, cluster: UpstreamCluster, isFresh?: boolean): void;
  /** Stops waiting; true when it was. */
  cancel(user: UpstreamUser): boolean;
}
