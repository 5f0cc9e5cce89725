/** What policies and routes are told of a connection, once it is known who calls and where it goes. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel } from "../../net/channel.ts";
import type { ConnectionView } from "../engine/request.ts";

export interface ConnectionEnds {
  readonly source: SocketAddress;
  /** Of a connection whose PROXY header tells of another source. */
  readonly direct?: SocketAddress | undefined;
  readonly destination: SocketAddress;
  /** It is not merely where the connection was accepted. */
  readonly isRestored: boolean;
}

export function viewOf(
  { tls }: Channel,
  sni: string | undefined,
  ends: ConnectionEnds,
): ConnectionView {
  return {
    sourceAddress: ends.source.address,
    sourcePort: ends.source.port,
    direct: ends.direct,
    destinationAddress: ends.destination.address,
    destinationPort: ends.destination.port,
    isDestinationRestored: ends.isRestored,
    sni,
    alpn: tls?.alpn,
    isTls: tls !== undefined,
    peerCertificate: tls?.peerCertificate,
    peerUriSans: tls?.peerUriSans ?? [],
    peerNames: tls?.peerNames,
  };
}
