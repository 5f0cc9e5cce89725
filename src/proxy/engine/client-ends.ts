/** Whom connections to endpoints are made for, as PROXY headers tell it. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ConnectionView } from "./request.ts";

export interface ClientEnds {
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
  /** Values that came with the client's own header and go on, as they came. */
  readonly tlvs: Uint8Array;
}

/** Who chooses an endpoint. */
export interface ChoosingClient {
  readonly ends: ClientEnds | undefined;
  /** Its connection to the endpoint is never another's, nor its own a second time. */
  readonly isAlone?: boolean;
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

/** A connection that is proxied as a whole; who its ends are is found out when somebody asks. */
export class ConnectionClient implements ChoosingClient {
  readonly isAlone: boolean;
  readonly #connection: ConnectionView;

  constructor(connection: ConnectionView, isAlone: boolean) {
    this.#connection = connection;
    this.isAlone = isAlone;
  }

  get ends(): ClientEnds {
    return clientEndsOf(this.#connection);
  }
}
