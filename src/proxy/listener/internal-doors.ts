/** Listeners that take connections from inside the proxy, and how many each has open. */
import { writeQueueBytes } from "../engine/watermark.ts";
import type { InternalDoor, PassedOn } from "../internal.ts";
import type { InternalChannel } from "../../net/internal-channel.ts";
import type { CompiledListener } from "./compiled-listener.ts";

/** For each listener; beyond it connections are refused and counted as `downstream_cx_overflow`. */
const connectionsMax = 16_384;

export interface DoorServices {
  /** Which listener has a name now. */
  find(name: string): { readonly compiled: CompiledListener; onOverflow(): void } | undefined;
  accept(name: string, channel: InternalChannel, passed: PassedOn): void;
  onClosed(channel: InternalChannel): void;
}

export class InternalDoors {
  readonly #services: DoorServices;
  readonly #open = new Map<string, number>();

  constructor(services: DoorServices) {
    this.#services = services;
  }

  readonly find = (name: string): InternalDoor | undefined => {
    const listener = this.#services.find(name);
    if (listener?.compiled.isInternal !== true) return undefined;
    const open = this.#open.get(name) ?? 0;
    if (open >= connectionsMax) {
      listener.onOverflow();
      return undefined;
    }
    const { restoresDestination, bufferBytesMax } = listener.compiled;
    return {
      restoresDestination,
      queueBytesMax: writeQueueBytes(bufferBytesMax),
      accept: (channel, passed) => {
        this.#open.set(name, open + 1);
        this.#services.accept(name, channel, passed);
      },
      onClosed: (channel) => {
        const left = (this.#open.get(name) ?? 1) - 1;
        if (left > 0) this.#open.set(name, left);
        else this.#open.delete(name);
        this.#services.onClosed(channel);
      },
    };
  };
}
