/** What a channel of this backend is made of, and what is left when it is given up. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ChannelHandler, TlsSession } from "../channel.ts";
import type { ByteStream } from "./byte-stream.ts";
import type { Reactor } from "./reactor.ts";

export interface EpollChannelOptions {
  readonly reactor: Reactor;
  readonly fd: number;
  readonly handler: ChannelHandler;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly originalDestination?: SocketAddress;
  /** What is read and written; the descriptor itself unless told. Freed with the channel. */
  readonly stream?: ByteStream;
  readonly tls?: TlsSession;
  /** `write` says false from here on. */
  readonly writeQueueBytesMax: number;
  /** A handler threw: our mistake. The connection is already being closed. */
  readonly onFault: (thrown: unknown) => void;
  /** The connection is gone, also where it was released and ended elsewhere. */
  readonly onGone?: () => void;
}

/** A connection without an owner. */
export interface Surrendered {
  readonly fd: number;
  /** What it is watched for; undefined where it is not. */
  readonly interest: number | undefined;
  readonly options: EpollChannelOptions;
  readonly close: () => void;
}
