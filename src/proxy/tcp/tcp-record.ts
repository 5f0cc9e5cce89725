/** What happened to one TCP connection, for access logs and metrics. */
import type { Channel } from "../../net/channel.ts";
import type { DynamicMetadata, JsonValue, RequestRecord } from "../../telemetry/request-record.ts";
import { stateJson } from "../engine/filter-state.ts";
import type { ConnectionView } from "../engine/request.ts";
import { ConnectionRecord } from "../stats/connection-record.ts";

export class TcpRecord extends ConnectionRecord implements RequestRecord {
  readonly kind = "tcp";
  entryType: RequestRecord["entryType"] = undefined;
  responseFlags = "";
  downstreamTransportFailureReason = "";

  readonly #connection: ConnectionView;

  constructor(
    channel: Pick<Channel, "local" | "tls">,
    connection: ConnectionView,
    direction: RequestRecord["direction"],
  ) {
    super(channel, connection);
    this.#connection = connection;
    this.direction = direction;
  }

  get dynamicMetadata(): DynamicMetadata | undefined {
    return this.#connection.metadata;
  }

  filterState(key: string): string | undefined {
    return this.#connection.state?.get(key)?.text;
  }

  filterStateJson(key: string): JsonValue | undefined {
    return stateJson(this.#connection.state?.get(key));
  }

  requestHeader(): undefined {}

  responseHeader(): undefined {}

  responseTrailer(): undefined {}
}
