/** The RequestRecord of one HTTP stream at a time: the same object is filled again for the next. */
import type { Channel } from "../../net/channel.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import { ConnectionRecord } from "../stats/connection-record.ts";
import type { HttpRequest } from "./http-request.ts";
import type { MessageHeaders } from "./message-headers.ts";
import { formatFlags } from "./response-flags.ts";

export class StreamRecord extends ConnectionRecord implements RequestRecord {
  readonly kind = "http";
  flags = 0;
  /** Our answer names the operation. */
  tellsOperation = false;
  responseTrailers: Http1Head | undefined = undefined;
  readonly #request: HttpRequest;
  readonly #response: MessageHeaders;

  constructor(channel: Channel, request: HttpRequest, response: MessageHeaders) {
    super(channel, request.connection);
    this.protocol = "HTTP/1.1";
    this.#request = request;
    this.#response = response;
  }

  get responseFlags(): string {
    return formatFlags(this.flags);
  }

  /** A client behind other proxies has an address, but no port that we know. */
  setRemote(address: string): void {
    const direct = this.downstreamDirectAddress;
    if (address === direct.address) this.downstreamRemoteAddress = direct;
    else if (address !== this.downstreamRemoteAddress.address) {
      this.downstreamRemoteAddress = { address, port: 0 };
    }
  }

  /** Forgets the last request; what belongs to the connection stays. */
  reset(startMs: number, startMonotonicMs: number): void {
    this.clear();
    this.startMs = startMs;
    this.startMonotonicMs = startMonotonicMs;
    this.protocol = "HTTP/1.1";
    this.flags = 0;
    this.tellsOperation = false;
    this.responseTrailers = undefined;
  }

  requestHeader(name: string): string | undefined {
    return this.#request.header(name);
  }

  responseHeader(name: string): string | undefined {
    return this.#response.get(name);
  }

  responseTrailer(name: string): string | undefined {
    return this.responseTrailers?.joined(name);
  }
}
