/** What happened to one TCP connection, for access logs and metrics. */
import type { Channel } from "../../net/channel.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { ConnectionView } from "../engine/request.ts";
import { ConnectionRecord } from "../stats/connection-record.ts";

export class TcpRecord extends ConnectionRecord implements RequestRecord {
  readonly kind = "tcp";
  entryType: RequestRecord["entryType"] = undefined;
  responseFlags = "";

  constructor(channel: Channel, connection: ConnectionView, direction: RequestRecord["direction"]) {
    super(channel, connection);
    this.direction = direction;
  }

  requestHeader(): undefined {}

  responseHeader(): undefined {}

  responseTrailer(): undefined {}
}
