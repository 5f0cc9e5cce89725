/**
 * The client's side of one stream, whichever protocol it speaks: a whole HTTP/1.1 connection, or a
 * stream of one that carries many (`../http2/`).
 */
import type { Channel } from "../../net/channel.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import type { ConnectionHome } from "../connection-home.ts";
import type { ConnectionView } from "../engine/request.ts";
import type { MessageHeaders } from "./message-headers.ts";
import type { ResponseConnection } from "./response-head-writer.ts";

export interface Downstream {
  readonly channel: Channel;
  readonly view: ConnectionView;
  readonly home: ConnectionHome;
  readonly sender: ResponseSender;
  /** As logs name it. */
  readonly protocol: "HTTP/1.1" | "HTTP/2";
  /** A chunk is being read: what streams write upstream leaves at its end. */
  readonly isReading: boolean;
  /** When the first byte of the request in hand came, by the wheel's time. */
  readonly headBeganMs: number;
  /** Whether the connection closes after the request in hand. */
  isLastRequest(): boolean;
  /** Calls nest: as many `resume()` as `pause()`. */
  pause(): void;
  resume(): void;
  /** Reads on, after an answer, what arrived before it was finished. */
  continueReading(): void;
  onStreamEnd(): void;
  /** The answer cannot become whole: the client must see that. */
  breakOff(): void;
  /** It can carry another protocol than HTTP. */
  readonly mayTunnel: boolean;
  /** Stops reading HTTP; the caller takes the channel. */
  becomeTunnel(): TunnelEnd;
  onTunnelClosed(): void;
}

/** A client's end of a tunnel. */
export interface TunnelEnd {
  readonly channel: Channel;
  /** What came before it was one. */
  readonly early: Buffer | undefined;
  /** And nothing follows. */
  readonly hasEnded: boolean;
}

/** What leaves for a client as the answer of one stream. */
export interface ResponseSender {
  /** `100 Continue`. */
  interim(): void;
  /** An upstream's answer follows; settles how its body leaves and edits the fields that say so. */
  beginBody(head: Http1Head, headers: MessageHeaders, isHttp10: boolean): void;
  /** An answer of our own follows. */
  reset(): void;
  /** The end of the body is the end of the connection. */
  readonly closesAfterBody: boolean;
  /** `isEnd`: no body follows. */
  head(
    status: number,
    headers: MessageHeaders,
    connection: Readonly<ResponseConnection>,
    isEnd: boolean,
  ): void;
  /** The whole body of an answer of our own, one byte per unit. */
  ownBody(text: string): void;
  /** `chunk[from, to)`, which is the caller's again afterwards. */
  body(chunk: Buffer, from: number, to: number): void;
  /** The body is whole. */
  end(trailers: Http1Head | undefined): void;
  /** Sends what was gathered; false when the client is slow. */
  flush(): boolean;
}
