/** What carries a tunnel that was asked for: a stream, or a whole connection of HTTP/1.1 that has become it. */
import type { Channel } from "../../net/channel.ts";
import type {
  UpgradedExchange,
  UpstreamExchange,
  UpstreamUser,
} from "../http/upstream-exchange.ts";

export interface TunnelCarrier extends Pick<
  UpstreamExchange,
  "answerTrailers" | "queuedBytes" | "sendBody" | "sendEnd" | "flush" | "pause" | "resume"
> {
  /** Streams are given up in one way. */
  abandon(how?: "reset"): void;
}

type TunnelUser = Pick<
  UpstreamUser,
  "onResponseData" | "onResponseEnd" | "onReleased" | "onUpstreamReset" | "onUpstreamDrain"
>;

/** Undefined where it has closed meanwhile. */
export function takeConnection(
  upgraded: UpgradedExchange,
  user: TunnelUser,
): TunnelCarrier | undefined {
  const channel = upgraded.surrender();
  if (channel === undefined) return undefined;
  let hasPeerEnded = false;
  channel.handler = {
    onData: (chunk) => user.onResponseData(chunk, 0, chunk.length),
    onEnd: () => {
      hasPeerEnded = true;
      user.onResponseEnd();
    },
    onDrain: () => user.onUpstreamDrain(),
    onClose: (error) => {
      upgraded.onTunnelClosed(error, hasPeerEnded);
      if (error === undefined) user.onReleased();
      else user.onUpstreamReset("termination", error);
    },
  };
  return new TakenConnection(channel);
}

class TakenConnection implements TunnelCarrier {
  readonly answerTrailers = undefined;
  readonly #channel: Channel;
  #hasRoom = true;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  get queuedBytes(): number {
    return this.#channel.queuedBytes;
  }

  sendBody(chunk: Buffer, from: number, to: number): boolean {
    this.#hasRoom = this.#channel.writeShared(chunk.subarray(from, to), to - from);
    return this.#hasRoom;
  }

  /** What was sent has been written. */
  flush(): boolean {
    return this.#hasRoom;
  }

  sendEnd(): void {
    this.#channel.end();
  }

  pause(): void {
    this.#channel.pause();
  }

  resume(): void {
    if (!this.#channel.isClosed) this.#channel.resume();
  }

  abandon(how?: "reset"): void {
    this.#channel.destroy(how);
  }
}
