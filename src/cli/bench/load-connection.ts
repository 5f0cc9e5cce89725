/** One keep-alive connection of a load: a request, its whole answer, and then the next. */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel, ChannelError } from "../../net/channel.ts";
import type { Dialler } from "../../net/dialler.ts";
import { BodyReader, bodyStep } from "../../wire/http1-body.ts";
import { frameResponse } from "../../wire/http1-framing.ts";
import { defaultHeadLimits, Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";

export interface LoadConnectionUser {
  /** `failure`: why there was no answer of 2xx or 3xx; the connection may be closed. */
  readonly onAnswer: (connection: LoadConnection, failure: string | undefined) => void;
}

const connectMaxMs = 5000;

export class LoadConnection {
  isClosed = false;
  readonly #user: LoadConnectionUser;
  readonly #channel: Channel;
  readonly #head = new Http1Head();
  readonly #body = new BodyReader(defaultHeadLimits);
  #isConnected = false;
  #isAsked = false;
  #hasHead = false;
  /** Asked before it stood. */
  #early: string | undefined;

  constructor(dialler: Dialler, target: SocketAddress, user: LoadConnectionUser) {
    this.#user = user;
    this.#channel = dialler.dial({
      address: target,
      tls: undefined,
      timeoutMs: connectMaxMs,
      onConnect: (channel) => {
        this.#isConnected = true;
        if (this.#early !== undefined) channel.write(Buffer.from(this.#early, "latin1"));
        this.#early = undefined;
      },
      handler: {
        onData: (chunk) => this.#read(chunk),
        onEnd: () => this.#onClosed(undefined),
        onDrain: () => {},
        onClose: (error) => this.#onClosed(error),
      },
    });
  }

  ask(request: string): void {
    this.#isAsked = true;
    this.#hasHead = false;
    this.#head.reset("response");
    if (this.#isConnected) this.#channel.write(Buffer.from(request, "latin1"));
    else this.#early = request;
  }

  abort(reason: string): void {
    this.isClosed = true;
    this.#channel.destroy();
    this.#answer(reason);
  }

  close(): void {
    this.isClosed = true;
    this.#channel.destroy();
  }

  #read(chunk: Buffer): void {
    let at = 0;
    if (!this.#isAsked) return this.abort("bytes that nobody asked for");
    if (!this.#hasHead) {
      at = feedHead(this.#head, chunk, 0, defaultHeadLimits);
      if (this.#head.error !== undefined) return this.abort(`no HTTP: ${this.#head.error}`);
      if (!this.#head.isComplete) return;
      const error = frameResponse(this.#head, false);
      if (error !== undefined) return this.abort(`no HTTP: ${error}`);
      this.#hasHead = true;
      this.#body.start(this.#head.bodyKind, this.#head.bodyLength);
    }
    for (;;) {
      const step = this.#body.next(chunk, at);
      at = this.#body.position;
      if (step === bodyStep.more) return;
      if (step === bodyStep.error) return this.abort("a malformed body");
      if (step === bodyStep.end) return this.#finish();
    }
  }

  #finish(): void {
    const { status, isKeepAlive } = this.#head;
    if (!isKeepAlive) this.close();
    this.#answer(status >= 200 && status < 400 ? undefined : `status ${status}`);
  }

  #onClosed(error: ChannelError | undefined): void {
    const wasClosed = this.isClosed;
    this.isClosed = true;
    if (wasClosed) return;
    this.#channel.destroy();
    if (this.#hasHead && error === undefined && this.#body.finish()) return this.#finish();
    this.#answer(error?.code ?? "the connection was closed without an answer");
  }

  #answer(failure: string | undefined): void {
    if (!this.#isAsked) return;
    this.#isAsked = false;
    this.#user.onAnswer(this, failure);
  }
}
