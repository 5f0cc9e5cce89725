import type { SocketAddress } from "../base/socket-address.ts";
import type { CertificateNames } from "../wire/certificate-names.ts";
import type { Counter } from "../telemetry/metrics.ts";

/**
 * One connection as the data plane sees it: bytes in, bytes out, whoever does the I/O. The portable
 * backend wraps `node:net` and `node:tls`; another backend can run its own loop behind the same
 * interface. Callbacks, not emitters or promises: nothing is allocated per chunk beyond the chunk.
 */
export interface Channel {
  /** Set by whoever owns the connection; may be replaced (listener filter → HTTP → upgraded TCP). */
  handler: ChannelHandler;
  /** Counts what passes from when it is set on; bytes inside TLS. Channels without a socket may have none. */
  meter?: ByteMeter | undefined;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Where the client meant to connect before capture redirected it; equals `local` otherwise. */
  readonly originalDestination: SocketAddress;
  /** Present once a TLS handshake has finished on it. */
  readonly tls: TlsSession | undefined;
  /**
   * Writes in order. False when more than the high watermark waits: stop until `onDrain`. The
   * channel may keep `bytes` until sent, so the caller must not reuse them.
   */
  write(bytes: Uint8Array): boolean;
  /** As `write`, for the first `length` bytes of memory that the caller uses again afterwards. */
  writeShared(memory: Uint8Array, length: number): boolean;
  /** Gathers until `uncork`, so that one message is one write to the kernel. */
  cork(): void;
  uncork(): void;
  /** Sends what is queued, then half-closes. */
  end(): void;
  /**
   * Closes at once; queued bytes are lost. `onClose` follows. With `reset` the peer is told that the
   * connection broke (RST), where it would otherwise see an orderly end.
   */
  destroy(how?: "reset"): void;
  pause(): void;
  resume(): void;
  /** Bytes accepted by `write` and not yet taken by the kernel. */
  readonly queuedBytes: number;
  readonly isClosed: boolean;
}

/** Bytes that came and bytes that were handed over to be sent. */
export interface ByteMeter {
  readonly received: Counter;
  readonly sent: Counter;
}

export interface ChannelHandler {
  /** `chunk` belongs to the handler only during the call: whoever keeps bytes, or writes them elsewhere, copies them. */
  onData(chunk: Buffer): void;
  /** The peer sent FIN; writing may go on. */
  onEnd(): void;
  onDrain(): void;
  /** Exactly once, last. `error` when the connection ended by anything but an orderly close. */
  onClose(error: ChannelError | undefined): void;
}

export interface ChannelError {
  /** `ECONNREFUSED`, `ECONNRESET`, `ETIMEDOUT`, `tls-…`. */
  readonly code: string;
  readonly message: string;
}

/** Names of a peer's certificate beside its URIs. */
export type PeerNames = Pick<CertificateNames, "subject" | "dnsSans">;

/** What a finished handshake established. */
export interface TlsSession {
  readonly version: string;
  readonly cipher: string;
  readonly sni: string | undefined;
  readonly alpn: string | undefined;
  /** What the peer has shown of itself; absent where it has no certificate. */
  readonly peerCertificate?: "presented" | "validated" | undefined;
  /** URI subject alternative names of the peer's verified certificate; empty without one. */
  readonly peerUriSans: readonly string[];
  /** Other names of that certificate; absent without one. */
  readonly peerNames?: PeerNames | undefined;
  /** Common name of the peer's subject: the workload instance, for certificates of Heddle's CA. */
  readonly peerCommonName: string | undefined;
  readonly peerCertificateDer: Uint8Array | undefined;
  /** What the peer sent behind its own certificate; absent where nobody asked for it. */
  readonly peerIssuersDer?: readonly Uint8Array[] | undefined;
  /** The URI SANs of our own certificate on this connection. */
  readonly localUriSans: readonly string[];
  /** Its other names; absent without one. */
  readonly ownNames?: CertificateNames | undefined;
}
