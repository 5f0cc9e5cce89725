/**
 * TLS, as its client, on a channel that stands already: a tunnel, or a connection inside the process.
 * Node's TLS, on every backend: epoll's speaks on descriptors alone.
 */
import type { SocketAddress } from "../base/socket-address.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Channel, ChannelError, ChannelHandler } from "./channel.ts";
import { ChannelStream } from "./channel-stream.ts";
import type { ClientTls } from "./dialler.ts";
import { reportFault } from "./portable/fault.ts";
import { SocketChannel } from "./portable/socket-channel.ts";
import { startClientHandshake } from "./tls/client-handshake.ts";

export interface SecureChannelOptions {
  /** Dead from the call on; the new channel comes with `onSecure`. */
  readonly channel: Channel;
  readonly local: SocketAddress;
  readonly tls: ClientTls;
  /** Replaces the protocols that `tls` offers. */
  readonly alpn: readonly string[] | undefined;
  /** By the wall clock. */
  readonly nowMs: number;
  readonly log: Logger;
  readonly handler: ChannelHandler;
  readonly onSecure: (channel: Channel) => void;
  /** The channel is closed already. */
  readonly onFailure: (error: ChannelError) => void;
}

/** `abort(hasTimedOut)`: nobody waits any longer, and no callback fires after it. */
export function secureChannel(options: SecureChannelOptions): {
  abort(hasTimedOut: boolean): void;
} {
  const { channel, local, tls, alpn, nowMs, log, handler } = options;
  const { remote } = channel;
  const transport = new ChannelStream(channel);
  return startClientHandshake({
    socket: transport,
    tls,
    nowMs,
    alpn,
    onSecure: (secured, session) => {
      const opened = new SocketChannel(secured, {
        handler,
        local,
        remote,
        tls: session,
        transport,
        onFault: (thrown) => reportFault(log, remote, thrown),
      });
      try {
        options.onSecure(opened);
      } catch (thrown) {
        opened.destroy();
        reportFault(log, remote, thrown);
      }
    },
    onFailure: options.onFailure,
  });
}
