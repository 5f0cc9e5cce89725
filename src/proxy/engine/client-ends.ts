/** Whom connections to endpoints are made for, as PROXY headers tell it. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ConnectionView } from "./request.ts";

export interface ClientEnds {
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
  /** Values that came with the client's own header and go on, as they came. */
  readonly tlvs: Uint8Array;
}

const noTlvs = new Uint8Array(0);

/** Of the connection as it is, whoever its requests say that they come from: as Envoy. */
export function clientEndsOf(connection: ConnectionView): ClientEnds {
  const { sourceAddress, sourcePort, destinationAddress, destinationPort } = connection;
  connection.ends ??= {
    source: { address: sourceAddress, port: sourcePort },
    destination: { address: destinationAddress, port: destinationPort },
    tlvs: noTlvs,
  };
  return connection.ends;
}
