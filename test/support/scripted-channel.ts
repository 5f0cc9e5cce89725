import type { SocketAddress } from "../../src/base/socket-address.ts";
import type { Channel, ChannelError, ChannelHandler, TlsSession } from "../../src/net/channel.ts";

const address: SocketAddress = { address: "127.0.0.1", port: 1 };

const silent: ChannelHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};

/** A channel whose other end is a test: it keeps what was written, and says what it is told. */
export class ScriptedChannel implements Channel {
  handler: ChannelHandler = silent;
  readonly local: SocketAddress = address;
  readonly remote: SocketAddress = address;
  readonly originalDestination: SocketAddress = address;
  readonly tls: TlsSession | undefined;
  isClosed = false;
  /** The side under test has sent FIN. */
  hasEnded = false;
  /** The side under test has broken the connection, rather than closed it. */
  wasReset = false;
  isPaused = false;
  /** What `write` answers; a test sets false to play a slow peer. */
  accepts = true;
  writes = 0;
  #received = "";

  constructor(tls?: TlsSession) {
    this.tls = tls;
  }

  /** Everything written, and forgets it. */
  take(): string {
    const text = this.#received;
    this.#received = "";
    return text;
  }

  /** The peer sends this, in one piece. */
  send(text: string): void {
    if (!this.isClosed) this.handler.onData(Buffer.from(text, "latin1"));
  }

  sendEnd(): void {
    if (!this.isClosed) this.handler.onEnd();
  }

  /** The peer is gone. */
  close(error?: ChannelError): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.handler.onClose(error);
  }

  drain(): void {
    this.accepts = true;
    this.handler.onDrain();
  }

  write(bytes: Uint8Array): boolean {
    this.writes++;
    this.#received += Buffer.from(bytes).toString("latin1");
    return this.accepts;
  }

  writeShared(memory: Uint8Array, length: number): boolean {
    return this.write(memory.subarray(0, length));
  }

  cork(): void {}

  uncork(): void {}

  end(): void {
    this.hasEnded = true;
  }

  destroy(how?: "reset"): void {
    this.wasReset = how === "reset";
    this.close();
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  get queuedBytes(): number {
    return 0;
  }
}
