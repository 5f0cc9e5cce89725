import type { SocketAddress } from "../base/socket-address.ts";
import type { Channel, ChannelHandler } from "./channel.ts";
import type { SocketOption } from "./sysio/listening-socket.ts";

export type { SocketOption };

/** Opens connections to endpoints: the I/O backend behind it marks sockets and speaks TLS. */
export interface Dialler {
  /**
   * Starts connecting; returns at once. `handler.onClose` reports failure, never during the call.
   * `onConnect` fires when the channel can carry application bytes: after the TLS handshake where
   * there is one.
   */
  dial(options: DialOptions): Channel;
}

export interface DialOptions {
  readonly address: SocketAddress;
  readonly tls: ClientTls | undefined;
  /** For the connection and the TLS handshake together; 0 means none. */
  readonly timeoutMs: number;
  readonly handler: ChannelHandler;
  readonly onConnect: (channel: Channel) => void;
  /** The other end has accepted; before any handshake. For measuring. */
  readonly onTcpConnect?: () => void;
  /** Sent before all else, a TLS handshake too; at most 16 KiB. `local`: the connection's own end. */
  readonly preface?: (local: SocketAddress) => Uint8Array;
  /** Replaces the protocols that `tls` offers by ALPN, in order of preference. */
  readonly alpn?: readonly string[];
  /** Local address (no port) to connect from. */
  readonly sourceAddress?: string;
  /** The kernel asks an idle peer whether it is still there. */
  readonly keepAlive?: TcpKeepAlive;
  /** What else the kernel is asked, all of it `unbound`; dialling fails where it refuses. */
  readonly socketOptions?: readonly SocketOption[];
  /** Bytes that may wait to be sent before `write` says false. */
  readonly writeQueueBytesMax?: number;
}

/** Seconds and counts, all at least 1; what is absent is the kernel's to say. */
export interface TcpKeepAlive {
  /** Questions without an answer until the connection is given up. */
  readonly probes: number | undefined;
  /** Idle before the first question. */
  readonly idleSeconds: number | undefined;
  readonly intervalSeconds: number | undefined;
}

/** An upstream TLS context, made by `createClientTls`; opaque to everyone else. */
export interface ClientTls {
  readonly kind: "client-tls";
  /** Protocols offered by ALPN. */
  readonly alpn: readonly string[];
}
