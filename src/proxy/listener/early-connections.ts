/**
 * Connections that came to a listener whose address is bound and which does not serve yet: they wait,
 * unread, as they would in the kernel's queue, until it does. Bounded; beyond that they are closed.
 */
import type { Channel } from "../../net/channel.ts";

const waitingMax = 1024;

export class EarlyConnections {
  readonly #waiting = new Map<string, Channel[]>();

  /** From now on connections to this listener may wait. */
  expect(name: string): void {
    if (!this.#waiting.has(name)) this.#waiting.set(name, []);
  }

  /** False where nobody is expected, or too many wait. */
  hold(name: string, channel: Channel): boolean {
    const waiting = this.#waiting.get(name);
    if (waiting === undefined || waiting.length >= waitingMax) return false;
    channel.pause();
    waiting.push(channel);
    return true;
  }

  /** Those that still wait, reading again once their handler is set: `accept` sets it. */
  release(name: string, accept: (channel: Channel) => void): void {
    const waiting = this.#waiting.get(name) ?? [];
    this.#waiting.delete(name);
    for (const channel of waiting) {
      if (channel.isClosed) continue;
      channel.resume();
      accept(channel);
    }
  }

  /** It will not serve. */
  drop(name: string): void {
    this.release(name, (channel) => channel.destroy());
  }

  dropAll(): void {
    for (const name of this.#waiting.keys()) this.drop(name);
  }
}
