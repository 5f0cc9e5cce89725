/** TLS on a connection we made, up to the verdict on the server. */
import { isIP } from "node:net";

import { assert } from "../../base/assert.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ChannelError, TlsSession } from "../channel.ts";
import type { ClientTls } from "../dialler.ts";
import { clientContexts } from "../tls/context.ts";
import { describeFailure, type TlsFailureKind } from "../tls/failure.ts";
import { judgePeer } from "../tls/peer.ts";
import type { OpenSsl } from "./native/openssl.ts";
import type { SslConnection } from "./native/ssl-connection.ts";
import type { Reactor } from "./reactor.ts";
import {
  EpollHandshake,
  factsOf,
  nativeContextOf,
  peerCertificateOf,
  verifyCodeOf,
} from "./tls-handshake.ts";

export interface ClientTlsOptions {
  readonly reactor: Reactor;
  readonly openssl: OpenSsl;
  readonly fd: number;
  readonly interest: number;
  readonly peer: SocketAddress;
  readonly tls: ClientTls;
  /** Replaces the context's protocols. */
  readonly alpn: readonly string[] | undefined;
  readonly onSecure: (secured: Secured) => void;
  /** The descriptor is still open. */
  readonly onFailure: (error: ChannelError) => void;
  readonly onFault: (thrown: unknown) => void;
}

export interface Secured {
  readonly connection: SslConnection;
  readonly session: TlsSession;
  /** What the descriptor is watched for. */
  readonly interest: number;
}

export interface ClientTlsHandshake {
  step(): void;
  /** The deadline has passed, or else nobody waits any longer: no callback fires after this. */
  abort(hasTimedOut: boolean): void;
}

/** Undefined when it failed at once. */
export function startEpollClientTls(options: ClientTlsOptions): ClientTlsHandshake | undefined {
  const { openssl, reactor, fd, interest, peer, onSecure, onFault } = options;
  const side = clientContexts.get(options.tls);
  assert(side !== undefined, "a client TLS context of another make");
  const { context, sni } = side;
  const material = context.material();
  let connection: SslConnection | undefined;
  /** Frees the connection: its certificate is in the message. */
  const failureOf = (kind: TlsFailureKind, detail: string): ChannelError => {
    const certificate = connection === undefined ? undefined : peerCertificateOf(connection);
    connection?.free();
    connection = undefined;
    return describeFailure({ kind, peer, sni, certificate, detail });
  };
  const fail = (kind: TlsFailureKind, detail: string): void => {
    const error = failureOf(kind, detail);
    context.fail(kind, error);
    options.onFailure(error);
  };
  if (typeof material === "string") {
    fail("no-secret", material);
    return undefined;
  }
  const opened = nativeContextOf(openssl, material).open({
    fd,
    isServer: false,
    // Judged below, where the certificate can still be named in the message.
    verify: "if-given",
    alpn: options.alpn ?? context.plan.alpn,
    // An IP address is no server name (RFC 6066 §3).
    sni: sni === undefined || isIP(sni) !== 0 ? undefined : sni,
    first: undefined,
  });
  connection = opened;
  const onDone = (watchedFor: number): void => {
    const verdict = judgePeer({
      socket: factsOf(opened),
      plan: context.plan,
      material,
      requiresCertificate: true,
      sni,
      verifyCode: verifyCodeOf(opened),
    });
    if (verdict.kind === "refused") {
      fail(verdict.failure, verdict.detail);
      return;
    }
    connection = undefined;
    context.counters.onHandshake();
    onSecure({ connection: opened, session: verdict.session, interest: watchedFor });
  };
  const handshake = new EpollHandshake({
    reactor,
    fd,
    interest,
    connection: opened,
    onDone,
    onFailure: fail,
    onFault,
  });
  return {
    step: () => handshake.step(),
    abort: (hasTimedOut) => {
      handshake.abort();
      if (connection === undefined) return;
      const error = failureOf("timeout", "");
      if (hasTimedOut) context.fail("timeout", error);
    },
  };
}
