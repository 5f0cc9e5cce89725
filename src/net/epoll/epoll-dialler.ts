/** Connects without Node's sockets, with TLS where OpenSSL can be reached. */
import { isIP, isIPv4 } from "node:net";
import os from "node:os";

import { assert } from "../../base/assert.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { formatSocketAddress, isPipe } from "../../base/socket-address.ts";
import type { Deferred } from "../../base/turn-end.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { ChannelError } from "../channel.ts";
import type { Dialler, DialOptions, SocketOption } from "../dialler.ts";
import { OpeningChannel } from "../opening-channel.ts";
import { reportFault } from "../portable/fault.ts";
import { optionsOfFamily } from "../sysio/listening-socket.ts";
import { keepAliveOptions } from "../sysio/socket-options.ts";
import { encodeSockaddr, familyIpv4, familyIpv6, familyUnix } from "../sysio/sockaddr.ts";
import { type ClientTlsHandshake, type Secured, startEpollClientTls } from "./client-tls.ts";
import { EpollChannel } from "./epoll-channel.ts";
import { type Reactor, type Watched, writable } from "./reactor.ts";
import { channelError, errorName, localAddressOf } from "./socket-address.ts";

const { EINPROGRESS } = os.constants.errno;

const sockStream = 1;
const solSocket = 1;
const soError = 4;
const soMark = 36;
const solIp = 0;
const ipBindAddressNoPort = 24;
const ipprotoTcp = 6;
const tcpNoDelay = 1;
const defaultQueueBytes = 65_536;

export interface EpollDiallerOptions {
  readonly reactor: Reactor;
  readonly clock: Clock;
  readonly log: Logger;
  readonly mark: number | undefined;
  /** For hosts given by name, and for TLS where it must be left to Node. */
  readonly other: Dialler;
}

export function createEpollDialler(options: EpollDiallerOptions): Dialler {
  return {
    dial: (dial) =>
      (isIP(dial.address.address) !== 0 || isPipe(dial.address.address)) &&
      (dial.tls === undefined || options.reactor.openssl !== undefined)
        ? new Dialling(options, dial)
        : options.other.dial(dial),
  };
}

/** Why a socket is not ready to connect. */
interface Refused {
  readonly refusal: string;
  readonly code?: "source-address";
}

class Dialling extends OpeningChannel implements Watched, Deferred {
  readonly #options: EpollDiallerOptions;
  readonly #dial: DialOptions;
  #fd = -1;
  #timer: Timer | undefined;
  #handshake: ClientTlsHandshake | undefined;
  #error: ChannelError | undefined;

  constructor(options: EpollDiallerOptions, dial: DialOptions) {
    super(dial.handler, dial.address);
    this.#options = options;
    this.#dial = dial;
    const error = this.#connect();
    if (error !== undefined) {
      this.#fail(error);
      return;
    }
    const { timeoutMs } = dial;
    if (timeoutMs > 0) this.#timer = options.clock.schedule(timeoutMs, () => this.#onTimeout());
  }

  protected override abandon(): void {
    this.#fail(undefined);
  }

  onEvents(): void {
    const { syscalls } = this.#options.reactor;
    const pending = syscalls.option(this.#fd, solSocket, soError);
    if (pending === 0) this.#onConnected();
    else this.#fail(channelError("connect", pending, formatSocketAddress(this.remote)));
  }

  onFault(thrown: unknown): void {
    this.#fail({ code: "fault", message: "a handler of this connection failed" });
    reportFault(this.#options.log, this.remote, thrown);
  }

  /** It has not become a connection. */
  runDeferred(): void {
    try {
      this.ownHandler.onClose(this.#error);
    } catch (thrown) {
      reportFault(this.#options.log, this.remote, thrown);
    }
  }

  #connect(): ChannelError | undefined {
    const { reactor, mark } = this.#options;
    const { syscalls } = reactor;
    const where = formatSocketAddress(this.remote);
    const fd = syscalls.socket(familyOf(this.remote.address), sockStream);
    if (fd < 0) return channelError("socket", fd, where);
    this.#fd = fd;
    const refused = isPipe(this.remote.address) ? undefined : this.#prepare(fd, mark);
    if (refused !== undefined) {
      const { code = "socket-mark", refusal } = refused;
      return { code, message: `cannot connect to ${where}: ${refusal}` };
    }
    const status = syscalls.connect(fd, encodeSockaddr(this.remote));
    if (status < 0 && status !== -EINPROGRESS) return channelError("connect", status, where);
    const added = reactor.add(fd, this, writable);
    return added < 0 ? channelError("epoll_ctl", added, where) : undefined;
  }

  /** What must stand before the first packet leaves. */
  #prepare(fd: number, mark: number | undefined): Refused | undefined {
    const { syscalls } = this.#options.reactor;
    syscalls.setOption(fd, ipprotoTcp, tcpNoDelay, 1);
    if (mark !== undefined && syscalls.setOption(fd, solSocket, soMark, mark) < 0) {
      return { refusal: "the kernel refuses the socket mark; it needs CAP_NET_ADMIN" };
    }
    const { sourceAddress, keepAlive, socketOptions = [] } = this.#dial;
    for (const [level, name, value] of keepAliveOptions(keepAlive)) {
      if (syscalls.setOption(fd, level, name, value) < 0) {
        return { refusal: "the kernel refuses the settings of TCP keepalive" };
      }
    }
    const wanted = optionsOfFamily(socketOptions, isIPv4(this.remote.address) ? 4 : 6);
    return this.#setOptions(fd, wanted) ?? this.#bind(fd, sourceAddress);
  }

  #bind(fd: number, sourceAddress: string | undefined): Refused | undefined {
    if (sourceAddress === undefined) return undefined;
    const { syscalls } = this.#options.reactor;
    // Leaves the choice of the port to connect(), which may share ports between destinations.
    syscalls.setOption(fd, solIp, ipBindAddressNoPort, 1);
    const status = syscalls.bind(fd, encodeSockaddr({ address: sourceAddress, port: 0 }));
    if (status >= 0) return undefined;
    const refusal = `cannot connect from ${sourceAddress} (${errorName(status)})`;
    return { refusal, code: "source-address" };
  }

  #setOptions(fd: number, options: readonly SocketOption[]): Refused | undefined {
    const { syscalls } = this.#options.reactor;
    for (const { level, name: option, value } of options) {
      const status =
        typeof value === "number"
          ? syscalls.setOption(fd, level, option, value)
          : syscalls.setOptionBytes(fd, { level, option, value });
      if (status < 0) {
        return { refusal: `the kernel refuses socket option ${option} of level ${level}` };
      }
    }
    return undefined;
  }

  #onConnected(): void {
    const { tls, alpn } = this.#dial;
    this.#dial.onTcpConnect?.();
    if (!this.#sendPreface()) return;
    if (tls === undefined) {
      this.#open(writable, undefined);
      return;
    }
    const { reactor, log, clock } = this.#options;
    assert(reactor.openssl !== undefined, "no OpenSSL");
    this.#handshake = startEpollClientTls({
      reactor,
      openssl: reactor.openssl,
      fd: this.#fd,
      interest: writable,
      peer: this.remote,
      tls,
      nowMs: clock.nowMs(),
      alpn,
      onSecure: (secured) => this.#open(secured.interest, secured),
      onFailure: (error) => this.#fail(error),
      onFault: (thrown) => {
        this.#fail({ code: "fault", message: "the handshake of this connection failed" });
        reportFault(log, this.remote, thrown);
      },
    });
    this.#handshake?.step();
  }

  /** The kernel's buffer is empty yet, and takes it whole. */
  #sendPreface(): boolean {
    const { preface } = this.#dial;
    if (preface === undefined) return true;
    const { reactor } = this.#options;
    const bytes = preface(localAddressOf(reactor, this.#fd));
    reactor.writeSlab.put(bytes, bytes.length);
    const count = reactor.syscalls.write(this.#fd, reactor.writeSlab, bytes.length);
    if (count === bytes.length) return true;
    const where = formatSocketAddress(this.remote);
    this.#fail(
      count < 0
        ? channelError("write", count, where)
        : {
            code: "EAGAIN",
            message: `${where} took ${count} of ${bytes.length} bytes of a preface`,
          },
    );
    return false;
  }

  #open(interest: number, secured: Secured | undefined): void {
    const { reactor, log } = this.#options;
    const { remote } = this;
    this.#timer?.cancel();
    this.#handshake = undefined;
    const fd = this.#fd;
    const channel = new EpollChannel(
      {
        reactor,
        fd,
        handler: this.ownHandler,
        local: localAddressOf(reactor, fd),
        remote,
        ...(secured === undefined ? {} : { stream: secured.connection, tls: secured.session }),
        writeQueueBytesMax: this.#dial.writeQueueBytesMax ?? defaultQueueBytes,
        onFault: (thrown) => reportFault(log, remote, thrown),
      },
      interest,
    );
    this.channel = channel;
    try {
      this.#dial.onConnect(channel);
    } catch (thrown) {
      channel.onFault(thrown);
    }
  }

  #onTimeout(): void {
    const where = formatSocketAddress(this.remote);
    const { timeoutMs } = this.#dial;
    this.#fail({ code: "ETIMEDOUT", message: `connecting to ${where} took over ${timeoutMs} ms` });
  }

  /** Ends what has not become a connection. */
  #fail(error: ChannelError | undefined): void {
    if (this.hasFailed || this.channel !== undefined) return;
    this.hasFailed = true;
    this.#error = error;
    this.#timer?.cancel();
    this.#handshake?.abort(error !== undefined);
    const { reactor } = this.#options;
    if (this.#fd >= 0) reactor.close(this.#fd);
    reactor.defer(this);
  }
}

function familyOf(address: string): number {
  if (isPipe(address)) return familyUnix;
  return isIPv4(address) ? familyIpv4 : familyIpv6;
}
