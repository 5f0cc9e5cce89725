/** Listening sockets of the epoll backend. What `listen.ts` promises holds here. */
import type { Clock } from "../../base/clock.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { type BoundListener, type ListenOptions, pipeOf } from "../listen.ts";
import { reportFault } from "../portable/fault.ts";
import { silentHandler } from "../portable/socket-channel.ts";
import { readOriginalDestination } from "../sysio/socket-options.ts";
import { AcceptSocket, openListeningSocket } from "./accept-socket.ts";
import { EpollChannel } from "./epoll-channel.ts";
import type { Reactor } from "./reactor.ts";
import { addressIn, localAddressOf } from "./socket-address.ts";

const defaultQueueBytes = 65_536;

/** Throws `listen-failed` with the reason. */
export function listenWithEpoll(
  reactor: Reactor,
  clock: Clock,
  options: ListenOptions,
): BoundListener {
  const accepted = new AcceptedDescriptors(reactor, options);
  const socket = new AcceptSocket({
    reactor,
    clock,
    socket: openListeningSocket(reactor, options),
    listening: options,
    onAccepted: (fd) => accepted.take(fd, addressIn(reactor)),
  });
  socket.accept();
  return {
    address: socket.address,
    close: async () => socket.close(),
  };
}

/** Makes channels of descriptors that were accepted for one listener, up to its limit. */
export class AcceptedDescriptors {
  readonly #reactor: Reactor;
  readonly #options: ListenOptions;
  readonly #onGone: () => void;
  readonly #pipe: SocketAddress | undefined;
  #open = 0;

  constructor(reactor: Reactor, options: ListenOptions, onGone: () => void = () => {}) {
    this.#reactor = reactor;
    this.#options = options;
    this.#onGone = onGone;
    this.#pipe = pipeOf(options);
  }

  /** `peer`: as the kernel says; of a Unix socket's it says nothing. */
  take(fd: number, peer: SocketAddress): void {
    const remote = this.#pipe ?? peer;
    const { connectionsMax, onOverflow } = this.#options;
    const isOverflow = this.#open >= connectionsMax;
    // Without an address it was gone before we looked: there is no peer to speak of.
    if (remote.address === "" || isOverflow) {
      this.#reactor.close(fd);
      if (isOverflow) onOverflow?.();
      this.#onGone();
      return;
    }
    this.#open++;
    this.#accept(fd, remote);
  }

  #accept(fd: number, remote: SocketAddress): void {
    const options = this.#options;
    const local = this.#pipe ?? localAddressOf(this.#reactor, fd);
    const original = options.readsOriginalDestination
      ? readOriginalDestination(fd, remote.address.includes("."))
      : undefined;
    const channel = new EpollChannel(
      {
        reactor: this.#reactor,
        fd,
        handler: silentHandler,
        local,
        remote,
        originalDestination: original ?? local,
        writeQueueBytesMax: options.writeQueueBytesMax ?? defaultQueueBytes,
        onFault: (thrown) => reportFault(options.log, remote, thrown),
        onGone: () => {
          this.#open--;
          options.onClosed?.(channel);
          this.#onGone();
        },
      },
      undefined,
    );
    try {
      options.onChannel(channel);
    } catch (thrown) {
      channel.onFault(thrown);
    }
  }
}
