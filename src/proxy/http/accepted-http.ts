/** A connection that a connection manager has taken, and who keeps it, before its protocol is known. */
import type { Channel } from "../../net/channel.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import type { ConnectionHome } from "../connection-home.ts";
import type { ConnectionView } from "../engine/request.ts";
import type { ClientEnd } from "./downstream-series.ts";

export interface AcceptedHttp {
  readonly channel: Channel;
  readonly view: ConnectionView;
  readonly home: ConnectionHome;
}

/** A connection that is served, in whatever protocol. */
export interface ServedConnection {
  readonly channel: Channel;
  /** Once it is over. */
  readonly end: ClientEnd;
  /** Ends it if it is idle, and has been since then. */
  closeIdle(sinceMs: number): void;
  /** Another configuration is in force. */
  onRetired?(): void;
  /** The one it was accepted under is given up: it goes elsewhere if it is idle. */
  moveIdle(): void;
}

/** Who keeps the connections of a connection manager. */
export interface ConnectionOwner {
  onClosed(connection: ServedConnection): void;
  /**
   * The first request was HTTP/2's preface: `first` is all that came of it. False where the
   * configuration wants HTTP/1.1 alone.
   */
  takeHttp2(accepted: AcceptedHttp, first: Buffer): boolean;
}

/** How HTTP/2's preface begins, as far as HTTP/1.1's reader goes along with it. */
const beginning = Buffer.from("PRI * HTTP/2");

/** Of a head that was refused for its version. */
export function isHttp2Beginning({ bytes }: Http1Head): boolean {
  return beginning.compare(bytes, 0, beginning.length) === 0;
}
