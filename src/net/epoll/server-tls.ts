/** TLS on an accepted channel of this backend. What `server-handshake.ts` promises holds here. */
import { assert } from "../../base/assert.ts";
import type { Timer } from "../../base/clock.ts";
import { reportFault } from "../portable/fault.ts";
import { silentHandler } from "../portable/socket-channel.ts";
import type { ServerHandshakeOptions } from "../server-handshake.ts";
import type { ServerSide } from "../tls/context.ts";
import { describeFailure, type TlsFailureKind } from "../tls/failure.ts";
import type { TlsMaterial } from "../tls/material.ts";
import { judgePeer } from "../tls/peer.ts";
import { bindingFor } from "../tls/resumption.ts";
import type { Surrendered } from "./channel-options.ts";
import { EpollChannel } from "./epoll-channel.ts";
import type { OpenSsl } from "./native/openssl.ts";
import type { SslConnection } from "./native/ssl-connection.ts";
import {
  EpollHandshake,
  factsOf,
  nativeContextOf,
  peerCertificateOf,
  verifyCodeOf,
} from "./tls-handshake.ts";

export function startEpollServerTls(
  options: ServerHandshakeOptions,
  side: ServerSide,
  openssl: OpenSsl,
): void {
  const { channel } = options;
  assert(channel instanceof EpollChannel, "a channel of another backend");
  const handshake = new ServerTls(options, side, openssl);
  try {
    handshake.start(channel);
  } catch (thrown) {
    // OpenSSL may refuse what Node has taken; the channel is dead already, and nobody else would close it.
    handshake.destroy();
    reportFault(options.log, channel.remote, thrown);
  }
}

class ServerTls {
  readonly #options: ServerHandshakeOptions;
  readonly #side: ServerSide;
  readonly #openssl: OpenSsl;
  #surrendered: Surrendered | undefined;
  #connection: SslConnection | undefined;
  #handshake: EpollHandshake | undefined;
  #channel: EpollChannel | undefined;
  #timer: Timer | undefined;
  #isSettled = false;

  constructor(options: ServerHandshakeOptions, side: ServerSide, openssl: OpenSsl) {
    this.#options = options;
    this.#side = side;
    this.#openssl = openssl;
  }

  start(channel: EpollChannel): void {
    const surrendered = channel.surrender(this);
    this.#surrendered = surrendered;
    const material = this.#side.context.material(this.#options.requestedSni);
    if (typeof material === "string") {
      this.#fail("no-secret", material);
      return;
    }
    const { timeoutMs, clock, first, requestedSni } = this.#options;
    if (timeoutMs > 0) this.#timer = clock.schedule(timeoutMs, () => this.#fail("timeout", ""));
    const { context, requiresCertificate, resumption } = this.#side;
    const { plan } = context;
    const startedMs = clock.nowMs();
    const terms = resumption?.terms(material, startedMs);
    const use = { side: "server", ticketsForS: terms?.timeoutS } as const;
    const connection = nativeContextOf(this.#openssl, material, use).open({
      fd: surrendered.fd,
      startedMs,
      tickets:
        terms === undefined
          ? undefined
          : { binding: bindingFor(terms.binding, requestedSni), keys: terms.keys },
      isServer: true,
      verify: requiresCertificate ? "required" : plan.canVerify ? "if-given" : "no",
      alpn: plan.alpn,
      sni: undefined,
      first,
    });
    this.#connection = connection;
    this.#handshake = new EpollHandshake({
      reactor: surrendered.options.reactor,
      fd: surrendered.fd,
      interest: surrendered.interest,
      connection,
      onDone: (interest) => this.#onHandshake(connection, material, interest),
      onFailure: (kind, detail) => this.#fail(kind, detail),
      onFault: (thrown) => {
        this.destroy();
        reportFault(this.#options.log, channel.remote, thrown);
      },
    });
    this.#handshake.step();
  }

  /** The channel that was given up is destroyed, or was already. */
  destroy(): void {
    if (this.#channel !== undefined) this.#channel.destroy();
    else this.#fail("closed", "");
  }

  #onHandshake(connection: SslConnection, material: TlsMaterial, interest: number): void {
    if (this.#isSettled) return;
    const { context, requiresCertificate } = this.#side;
    const verdict = judgePeer({
      facts: factsOf(connection, {
        keepsChain: this.#side.keepsPeerChain,
        hasSeveral: material.parts.certificates.length > 1,
      }),
      plan: context.plan,
      material,
      requiresCertificate,
      // As the chain was chosen by it: in lower case. OpenSSL has it as it came, and none with a
      // session of TLS 1.2.
      sni: this.#options.requestedSni ?? connection.serverName?.toLowerCase(),
      verifyCode: verifyCodeOf(connection),
    });
    if (verdict.kind === "refused") {
      this.#fail(verdict.failure, verdict.detail);
      return;
    }
    this.#isSettled = true;
    this.#timer?.cancel();
    context.counters.onHandshake(connection.isResumed);
    const { log, onSecure, channel } = this.#options;
    const before = this.#surrendered;
    assert(before !== undefined, "a handshake without a connection");
    const { remote } = channel;
    const opened = new EpollChannel(
      {
        ...before.options,
        handler: silentHandler,
        stream: connection,
        tls: verdict.session,
        onFault: (thrown) => reportFault(log, remote, thrown),
      },
      interest,
    );
    this.#channel = opened;
    try {
      onSecure(opened);
    } catch (thrown) {
      opened.onFault(thrown);
    }
  }

  #fail(kind: TlsFailureKind, detail: string): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#timer?.cancel();
    this.#handshake?.abort();
    this.#side.context.counters.onFailure(kind);
    const connection = this.#connection;
    const certificate = connection === undefined ? undefined : peerCertificateOf(connection);
    const sni = connection?.serverName;
    connection?.free();
    const { channel, onFailure } = this.#options;
    this.#surrendered?.close();
    onFailure(describeFailure({ kind, peer: channel.remote, sni, certificate, detail }));
  }
}
