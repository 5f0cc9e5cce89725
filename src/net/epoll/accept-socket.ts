/**
 * One listening socket of the epoll backend, and the turns that accept on it. Who gets what was
 * accepted is its owner's business.
 */
import { keepAliveOptions } from "../sysio/socket-options.ts";
import { isIPv4, isIPv6 } from "node:net";
import os from "node:os";

import type { Clock, Timer } from "../../base/clock.ts";
import type { HeddleError } from "../../base/error.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { listenFailure } from "../listen-failure.ts";
import { type ListenOptions, pipeOf } from "../listen.ts";
import { reportFault } from "../portable/fault.ts";
import { openBoundSocket, setSocketOptions } from "../sysio/listening-socket.ts";
import { type PipeFile, removePipe } from "../sysio/pipe-socket.ts";
import { encodeSockaddr, familyIpv4, familyIpv6 } from "../sysio/sockaddr.ts";
import { readable, type Reactor, type Watched } from "./reactor.ts";
import { errorName, localAddressOf } from "./socket-address.ts";

const { EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM } = os.constants.errno;

/** Accepted in one turn; the rest waits in the kernel while connections have theirs. */
const acceptsMaxDefault = 64;
/** How long nothing is accepted when descriptors or memory have run out. */
const exhaustedMs = 100;
const defaultBacklog = 511;

const sockStream = 1;
const solSocket = 1;
const soReuseAddr = 2;
const ipprotoTcp = 6;
const tcpNoDelay = 1;
const ipprotoIpv6 = 41;
const ipv6Only = 26;

export interface ListeningSocket {
  readonly fd: number;
  /** Of a Unix socket that is a file. */
  readonly file: PipeFile | undefined;
}

/** A socket that the kernel queues connections for. Throws `listen-failed` with the reason. */
export function openListeningSocket(reactor: Reactor, options: ListenOptions): ListeningSocket {
  const { on, backlog = defaultBacklog, socketOptions = [] } = options;
  const pipe = pipeOf(options);
  const opened =
    on.kind === "descriptor" ? { fd: on.fd, file: undefined } : openSocket(reactor, options, on);
  const { fd } = opened;
  const { syscalls } = reactor;
  setInherited(reactor, fd, options);
  let status = on.kind === "descriptor" ? syscalls.setNonBlocking(fd) : 0;
  if (status === 0) status = syscalls.listen(fd, backlog);
  const refusal = status === 0 ? setSocketOptions(fd, socketOptions, "listening") : undefined;
  if (refusal !== undefined) {
    if (on.kind === "address") syscalls.close(fd);
    if (opened.file !== undefined) removePipe(opened.file);
    throw listenFailure(options, { code: undefined, message: refusal });
  }
  if (status === 0) {
    // The next process makes a Unix socket of its own.
    const isKept = on.kind === "address" && pipe === undefined;
    if (isKept) reactor.kept?.onOpened(localAddressOf(reactor, fd), fd);
    return opened;
  }
  if (on.kind === "address") syscalls.close(fd);
  if (opened.file !== undefined) removePipe(opened.file);
  throw failure(options, status);
}

function openSocket(
  reactor: Reactor,
  options: ListenOptions,
  { address, port }: SocketAddress,
): ListeningSocket {
  const { syscalls } = reactor;
  const { socketOptions = [], mode } = options;
  if (pipeOf(options) !== undefined) return bound(options, { address, port }, mode);
  if (!isIPv4(address) && !isIPv6(address)) {
    throw listenFailure(options, { code: undefined, message: "it is no IP address" });
  }
  const kept = reactor.kept?.take({ address, port });
  if (kept !== undefined) return { fd: kept, file: undefined };
  if (socketOptions.length > 0) return bound(options, { address, port });
  const isV6 = isIPv6(address);
  const fd = syscalls.socket(isV6 ? familyIpv6 : familyIpv4, sockStream);
  if (fd < 0) throw failure(options, fd);
  syscalls.setOption(fd, solSocket, soReuseAddr, 1);
  // As Envoy without `ipv4_compat`: `::` and `0.0.0.0` are two listeners on one port.
  if (isV6) syscalls.setOption(fd, ipprotoIpv6, ipv6Only, 1);
  const status = syscalls.bind(fd, encodeSockaddr({ address, port }));
  if (status === 0) return { fd, file: undefined };
  syscalls.close(fd);
  throw failure(options, status);
}

function bound(options: ListenOptions, at: SocketAddress, mode?: number): ListeningSocket {
  const opened = openBoundSocket(at, options.socketOptions ?? [], mode);
  if ("fd" in opened) return opened;
  throw listenFailure(options, { code: undefined, message: opened.refusal });
}

/** Accepted sockets inherit these: no call for each. */
function setInherited({ syscalls }: Reactor, fd: number, { keepAlive }: ListenOptions): void {
  syscalls.setOption(fd, ipprotoTcp, tcpNoDelay, 1);
  for (const [level, name, value] of keepAliveOptions(keepAlive)) {
    syscalls.setOption(fd, level, name, value);
  }
}

export interface AcceptSocketOptions {
  readonly reactor: Reactor;
  readonly clock: Clock;
  readonly socket: ListeningSocket;
  readonly listening: ListenOptions;
  /** The peer's address is in the reactor's address slab during the call. */
  readonly onAccepted: (fd: number) => void;
}

export class AcceptSocket implements Watched {
  readonly address: SocketAddress;
  readonly #options: AcceptSocketOptions;
  #isAccepting = false;
  #isClosed = false;
  #pause: Timer | undefined;

  constructor(options: AcceptSocketOptions) {
    this.#options = options;
    const { reactor, socket, listening } = options;
    this.address = pipeOf(listening) ?? localAddressOf(reactor, socket.fd);
  }

  /** Throws `listen-failed`, and then has closed the socket where it was opened for this. */
  accept(): void {
    if (this.#isAccepting || this.#isClosed) return;
    const { reactor, socket, listening } = this.#options;
    const { fd, file } = socket;
    const status = reactor.add(fd, this, readable);
    if (status < 0) {
      if (listening.on.kind === "address") reactor.syscalls.close(fd);
      if (file !== undefined) removePipe(file);
      throw failure(listening, status);
    }
    this.#isAccepting = true;
  }

  /** Accepts, now or as soon as the kernel lets it. */
  resume(): void {
    if (this.#isAccepting || this.#isClosed) return;
    this.#pause?.cancel();
    this.#again();
  }

  /** What comes waits in the kernel. */
  rest(): void {
    this.#pause?.cancel();
    if (this.#isAccepting) this.#options.reactor.remove(this.#options.socket.fd);
    this.#isAccepting = false;
  }

  /** As `rest()`, but only for a while. */
  restFor(ms: number): void {
    this.rest();
    if (this.#isClosed) return;
    this.#pause = this.#options.clock.schedule(ms, () => this.#again());
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#pause?.cancel();
    const { reactor, socket, listening } = this.#options;
    const { fd, file } = socket;
    const isKept = listening.on.kind === "address" && pipeOf(listening) === undefined;
    if (isKept) reactor.kept?.onClosed(this.address);
    if (file !== undefined) removePipe(file);
    // One that another process holds, too, stays in the set when it is closed, and tells of itself.
    if (this.#isAccepting) reactor.remove(fd);
    this.#isAccepting = false;
    reactor.close(fd);
  }

  onEvents(): void {
    const { reactor, socket, onAccepted } = this.#options;
    const { syscalls, addressSlab } = reactor;
    const { acceptsMax = acceptsMaxDefault } = this.#options.listening;
    for (let accepts = 0; accepts < acceptsMax && this.#isAccepting; accepts++) {
      if (this.#isClosed) return;
      const fd = syscalls.accept(socket.fd, addressSlab);
      if (fd >= 0) onAccepted(fd);
      else if (fd === -EAGAIN) return;
      else if ([EMFILE, ENFILE, ENOBUFS, ENOMEM].includes(-fd)) return this.#exhausted(fd);
      else if (fd !== -EINTR && !isTransient(fd)) return this.#exhausted(fd);
    }
  }

  onFault(thrown: unknown): void {
    reportFault(this.#options.listening.log, this.address, thrown);
  }

  /** The connection stays in the queue, so epoll would tell of it for ever. */
  #exhausted(status: number): void {
    const { log } = this.#options.listening;
    log.error("accepting connections failed", { reason: errorName(status), pauseMs: exhaustedMs });
    this.restFor(exhaustedMs);
  }

  #again(): void {
    const status = this.#options.reactor.add(this.#options.socket.fd, this, readable);
    if (status < 0) this.#exhausted(status);
    else this.#isAccepting = true;
  }
}

/** The connection was gone before it was accepted; the next one may be fine (accept(2)). */
function isTransient(status: number): boolean {
  return /^E(CONNABORTED|PROTO|NETDOWN|NOPROTOOPT|HOSTDOWN|HOSTUNREACH|NETUNREACH)$/.test(
    errorName(status),
  );
}

function failure(options: ListenOptions, status: number): HeddleError {
  const code = errorName(status);
  return listenFailure(options, { code, message: code });
}
