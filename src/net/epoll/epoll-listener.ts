/** Listening sockets of the epoll backend. What `listen.ts` promises holds here. */
import { isIPv4, isIPv6 } from "node:net";
import os from "node:os";

import type { Clock, Timer } from "../../base/clock.ts";
import type { HeddleError } from "../../base/error.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel } from "../channel.ts";
import { listenFailure } from "../listen-failure.ts";
import type { BoundListener, ListenOptions } from "../listen.ts";
import { reportFault } from "../portable/fault.ts";
import { silentHandler } from "../portable/socket-channel.ts";
import { encodeSockaddr, familyIpv4, familyIpv6 } from "../sysio/sockaddr.ts";
import { readOriginalDestination } from "../sysio/socket-options.ts";
import { EpollChannel } from "./epoll-channel.ts";
import { readable, type Reactor, type Watched } from "./reactor.ts";
import { addressIn, errorName, localAddressOf } from "./socket-address.ts";

const { EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM } = os.constants.errno;

/** Accepted in one turn; the rest waits in the kernel while connections have theirs. */
const acceptsMax = 64;
/** How long nothing is accepted when descriptors or memory have run out. */
const exhaustedMs = 100;
const defaultBacklog = 511;
const defaultQueueBytes = 65_536;

const sockStream = 1;
const solSocket = 1;
const soReuseAddr = 2;
const soKeepAlive = 9;
const ipprotoTcp = 6;
const tcpNoDelay = 1;
const tcpKeepIdle = 4;
const tcpKeepInterval = 5;
const tcpKeepCount = 6;
const ipprotoIpv6 = 41;
const ipv6Only = 26;

/** Throws `listen-failed` with the reason. */
export function listenWithEpoll(
  reactor: Reactor,
  clock: Clock,
  options: ListenOptions,
): BoundListener {
  const { on, backlog = defaultBacklog } = options;
  const fd = on.kind === "descriptor" ? on.fd : openSocket(reactor, options, on);
  const { syscalls } = reactor;
  const fail = (status: number): never => {
    if (on.kind === "address") syscalls.close(fd);
    throw failure(options, status);
  };
  setInherited(reactor, fd, options);
  let status = on.kind === "descriptor" ? syscalls.setNonBlocking(fd) : 0;
  if (status === 0) status = syscalls.listen(fd, backlog);
  if (status < 0) fail(status);
  const listener = new EpollListener(reactor, clock, fd, options);
  status = listener.start();
  if (status < 0) fail(status);
  return listener;
}

function openSocket(
  { syscalls }: Reactor,
  options: ListenOptions,
  { address, port }: SocketAddress,
): number {
  if (!isIPv4(address) && !isIPv6(address)) {
    throw listenFailure(options, { code: undefined, message: "it is no IP address" });
  }
  const isV6 = isIPv6(address);
  const fd = syscalls.socket(isV6 ? familyIpv6 : familyIpv4, sockStream);
  if (fd < 0) throw failure(options, fd);
  syscalls.setOption(fd, solSocket, soReuseAddr, 1);
  // As Envoy without `ipv4_compat`: `::` and `0.0.0.0` are two listeners on one port.
  if (isV6) syscalls.setOption(fd, ipprotoIpv6, ipv6Only, 1);
  const status = syscalls.bind(fd, encodeSockaddr({ address, port }));
  if (status === 0) return fd;
  syscalls.close(fd);
  throw failure(options, status);
}

/** Accepted sockets inherit these: no call for each. */
function setInherited({ syscalls }: Reactor, fd: number, { keepAliveMs }: ListenOptions): void {
  syscalls.setOption(fd, ipprotoTcp, tcpNoDelay, 1);
  if (keepAliveMs === undefined) return;
  syscalls.setOption(fd, solSocket, soKeepAlive, 1);
  syscalls.setOption(fd, ipprotoTcp, tcpKeepIdle, Math.max(1, Math.round(keepAliveMs / 1000)));
  syscalls.setOption(fd, ipprotoTcp, tcpKeepInterval, 1);
  syscalls.setOption(fd, ipprotoTcp, tcpKeepCount, 10);
}

class EpollListener implements BoundListener, Watched {
  readonly address: SocketAddress;
  readonly #reactor: Reactor;
  readonly #clock: Clock;
  readonly #fd: number;
  readonly #options: ListenOptions;
  #open = 0;
  #isClosed = false;
  #pause: Timer | undefined;

  constructor(reactor: Reactor, clock: Clock, fd: number, options: ListenOptions) {
    this.#reactor = reactor;
    this.#clock = clock;
    this.#fd = fd;
    this.#options = options;
    this.address = localAddressOf(reactor, fd);
  }

  start(): number {
    return this.#reactor.add(this.#fd, this, readable);
  }

  close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#pause?.cancel();
      this.#reactor.close(this.#fd);
    }
    return Promise.resolve();
  }

  onEvents(): void {
    const { syscalls, addressSlab } = this.#reactor;
    for (let accepts = 0; accepts < acceptsMax && !this.#isClosed; accepts++) {
      const fd = syscalls.accept(this.#fd, addressSlab);
      if (fd >= 0) this.#take(fd, addressIn(this.#reactor));
      else if (fd === -EAGAIN) return;
      else if ([EMFILE, ENFILE, ENOBUFS, ENOMEM].includes(-fd)) return this.#rest(fd);
      else if (fd !== -EINTR && !this.#isTransient(fd)) return this.#rest(fd);
    }
  }

  onFault(thrown: unknown): void {
    reportFault(this.#options.log, this.address, thrown);
  }

  /** The connection was gone before it was accepted; the next one may be fine (accept(2)). */
  #isTransient(status: number): boolean {
    return /^E(CONNABORTED|PROTO|NETDOWN|NOPROTOOPT|HOSTDOWN|HOSTUNREACH|NETUNREACH)$/.test(
      errorName(status),
    );
  }

  /** The connection stays in the queue, so epoll would tell of it for ever. */
  #rest(status: number): void {
    const { log } = this.#options;
    log.error("accepting connections failed", { reason: errorName(status), pauseMs: exhaustedMs });
    this.#reactor.remove(this.#fd);
    this.#pause = this.#clock.schedule(exhaustedMs, () => {
      const again = this.start();
      if (again < 0) this.#rest(again);
    });
  }

  #take(fd: number, remote: SocketAddress): void {
    const { connectionsMax, onOverflow } = this.#options;
    // Gone before we looked: there is no peer to speak of.
    if (remote.address === "") {
      this.#reactor.syscalls.close(fd);
      return;
    }
    if (this.#open >= connectionsMax) {
      this.#reactor.syscalls.close(fd);
      onOverflow?.();
      return;
    }
    this.#open++;
    this.#accept(fd, remote);
  }

  #accept(fd: number, remote: SocketAddress): void {
    const options = this.#options;
    const local = localAddressOf(this.#reactor, fd);
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
        onGone: () => this.#onGone(channel),
      },
      undefined,
    );
    try {
      options.onChannel(channel);
    } catch (thrown) {
      channel.onFault(thrown);
    }
  }

  #onGone(channel: Channel): void {
    this.#open--;
    this.#options.onClosed?.(channel);
  }
}

function failure(options: ListenOptions, status: number): HeddleError {
  const code = errorName(status);
  return listenFailure(options, { code, message: code });
}
