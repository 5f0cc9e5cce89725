/** What leaves for one client: gathered by its connection manager's writer, or passed on as it came. */
import type { Channel } from "../../net/channel.ts";
import type { Http1Writer } from "../../wire/http1-writer.ts";

export class ClientSender {
  readonly #channel: Channel;
  readonly #writer: Http1Writer;
  /** The client is not slower than what is sent to it. */
  #hasRoom = true;

  constructor(channel: Channel, writer: Http1Writer) {
    this.#channel = channel;
    this.#writer = writer;
  }

  text(text: string): void {
    this.#writer.text(text);
    this.flush();
  }

  /** Sends what was gathered; false when the client is slow. */
  flush(): boolean {
    const { memory, length } = this.#writer;
    if (length > 0) {
      this.#writer.discard();
      this.#hasRoom = this.#channel.writeShared(memory, length);
    }
    return this.#hasRoom;
  }

  /** Sends the first `length` bytes of a chunk after what was gathered, without gathering them. */
  pass(chunk: Buffer, length: number): void {
    this.flush();
    this.#hasRoom = this.#channel.writeShared(chunk, length);
  }

  onDrain(): void {
    this.#hasRoom = true;
  }
}
