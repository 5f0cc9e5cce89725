/** What leaves for one HTTP/1.1 client: gathered by its connection manager's writer, or passed on as it came. */
import type { Channel } from "../../net/channel.ts";
import type { OtherNames } from "../../wire/header-case.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import type { Http1Writer } from "../../wire/http1-writer.ts";
import { isPassed } from "./back-pressure.ts";
import type { ResponseSender } from "./downstream.ts";
import type { MessageHeaders } from "./message-headers.ts";
import { keepFramed, keepLength } from "./kept-framing.ts";
import { type BodyMode, chooseBodyMode } from "./response-body-mode.ts";
import { type ResponseConnection, writeResponseHead } from "./response-head-writer.ts";

export class ClientSender implements ResponseSender {
  readonly #channel: Channel;
  readonly #writer: Http1Writer;
  /** The client is not slower than what is sent to it. */
  #hasRoom = true;
  #bodyMode: BodyMode = "none";

  readonly #otherNames: OtherNames;

  constructor(channel: Channel, writer: Http1Writer, otherNames: OtherNames) {
    this.#otherNames = otherNames;
    this.#channel = channel;
    this.#writer = writer;
  }

  get closesAfterBody(): boolean {
    return this.#bodyMode === "close";
  }

  reset(): void {
    this.#bodyMode = "none";
  }

  interim(): void {
    this.#writer.text("HTTP/1.1 100 Continue\r\n\r\n");
    this.flush();
  }

  beginBody(head: Http1Head, headers: MessageHeaders, isHttp10: boolean): void {
    this.#bodyMode = chooseBodyMode(head, headers, isHttp10);
  }

  head(status: number, headers: MessageHeaders, connection: Readonly<ResponseConnection>): void {
    if (this.#bodyMode === "raw" || this.#bodyMode === "chunked") this.#frame(headers, connection);
    writeResponseHead(this.#writer, status, headers, connection, this.#otherNames);
  }

  #frame(headers: MessageHeaders, { isHttp10 }: Readonly<ResponseConnection>): void {
    const kind = this.#bodyMode === "raw" ? "length" : "chunked";
    if (isHttp10) keepLength(headers);
    else if (keepFramed(headers, kind)) this.#bodyMode = "chunked";
  }

  ownBody(text: string): void {
    this.#writer.text(text);
  }

  body(chunk: Buffer, from: number, to: number): void {
    if (this.#bodyMode === "chunked") this.#writer.chunk(chunk, from, to);
    else if (isPassed(from, to)) this.#pass(chunk, to);
    else this.#writer.bytes(chunk, from, to);
  }

  end(trailers: Http1Head | undefined): void {
    if (this.#bodyMode === "chunked") this.#writer.lastChunk(trailers);
  }

  flush(): boolean {
    const { memory, length } = this.#writer;
    if (length > 0) {
      this.#writer.discard();
      this.#hasRoom = this.#channel.writeShared(memory, length);
    }
    return this.#hasRoom;
  }

  /** Sends the first `length` bytes of a chunk after what was gathered, without gathering them. */
  #pass(chunk: Buffer, length: number): void {
    this.flush();
    this.#hasRoom = this.#channel.writeShared(chunk, length);
  }

  onDrain(): void {
    this.#hasRoom = true;
  }
}
