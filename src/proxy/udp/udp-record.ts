/** What happened in one session of UDP, for access logs and metrics. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { DynamicMetadata, RequestRecord } from "../../telemetry/request-record.ts";
import type { ConnectionView } from "../engine/request.ts";
import { ConnectionRecord } from "../stats/connection-record.ts";

export class UdpRecord extends ConnectionRecord implements RequestRecord {
  readonly kind = "udp";
  entryType: RequestRecord["entryType"] = undefined;
  responseFlags = "";
  datagramsReceived = 0;
  datagramsSent = 0;

  constructor(
    local: SocketAddress,
    connection: ConnectionView,
    direction: RequestRecord["direction"],
  ) {
    super({ local, tls: undefined }, connection);
    this.direction = direction;
  }

  /** Under the name by which Envoy's logs ask for it. */
  get dynamicMetadata(): DynamicMetadata {
    return new Map([
      [
        "udp.proxy.session",
        {
          cluster_name: this.upstreamCluster,
          bytes_received: this.bytesReceived,
          bytes_sent: this.bytesSent,
          datagrams_received: this.datagramsReceived,
          datagrams_sent: this.datagramsSent,
        },
      ],
    ]);
  }

  requestHeader(): undefined {}
  responseHeader(): undefined {}
  responseTrailer(): undefined {}
}
