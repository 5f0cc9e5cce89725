/** TLS on a connection we made, up to the verdict on the server. */
import { isIP } from "node:net";

import { assert } from "../../base/assert.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ChannelError, TlsSession } from "../channel.ts";
import type { ClientTls } from "../dialler.ts";
import { type ClientSide, clientContexts } from "../tls/context.ts";
import { describeFailure, type TlsFailureKind } from "../tls/failure.ts";
import type { TlsMaterial } from "../tls/material.ts";
import { judgePeer } from "../tls/peer.ts";
import { ClientSessions, type KeptSession, sessionKeyOf } from "../tls/client-sessions.ts";
import type { OpenSsl } from "./native/openssl.ts";
import type { SslSession } from "./native/session-tickets.ts";
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
  /** By the wall clock. */
  readonly nowMs: number;
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

const sessionsOf = new WeakMap<ClientSide, ClientSessions<SslSession>>();

function sessionsFor(
  side: ClientSide,
  material: TlsMaterial,
): ClientSessions<SslSession> | undefined {
  if (side.sessionsMax === 0) return undefined;
  let sessions = sessionsOf.get(side);
  if (sessions === undefined) {
    sessions = new ClientSessions(side.sessionsMax, (session) => session.free());
    sessionsOf.set(side, sessions);
  }
  sessions.useFor(material);
  return sessions;
}

/** Undefined when it failed at once. */
export function startEpollClientTls(options: ClientTlsOptions): ClientTlsHandshake | undefined {
  const side = clientContexts.get(options.tls);
  assert(side !== undefined, "a client TLS context of another make");
  const handshake = new Handshake(options, side);
  return handshake.start() ? handshake : undefined;
}

class Handshake implements ClientTlsHandshake {
  readonly #options: ClientTlsOptions;
  readonly #side: ClientSide;
  readonly #sessionKey: string;
  #connection: SslConnection | undefined;
  #handshake: EpollHandshake | undefined;
  #sessions: ClientSessions<SslSession> | undefined;
  /** The one that is offered to the server. */
  #offered: KeptSession<SslSession> | undefined;
  #taker: SessionTaker | undefined;

  constructor(options: ClientTlsOptions, side: ClientSide) {
    this.#options = options;
    this.#side = side;
    this.#sessionKey = sessionKeyOf(options.peer, side.sni);
  }

  /** False when it failed at once. */
  start(): boolean {
    const { reactor, fd, interest, onFault } = this.#options;
    const material = this.#side.context.material();
    if (typeof material === "string") {
      this.#fail("no-secret", material);
      return false;
    }
    const connection = this.#open(material);
    this.#connection = connection;
    this.#handshake = new EpollHandshake({
      reactor,
      fd,
      interest,
      connection,
      onDone: (watchedFor) => this.#judge(connection, material, watchedFor),
      onFailure: (kind, detail) => this.#fail(kind, detail),
      onFault,
    });
    return true;
  }

  step(): void {
    this.#handshake?.step();
  }

  abort(hasTimedOut: boolean): void {
    this.#handshake?.abort();
    if (this.#connection === undefined) return;
    const error = this.#failureOf("timeout", "");
    if (hasTimedOut) this.#side.context.fail("timeout", error);
  }

  #open(material: TlsMaterial): SslConnection {
    const { openssl, fd, alpn, nowMs } = this.#options;
    const { context, sni } = this.#side;
    const sessions = sessionsFor(this.#side, material);
    const offered = sessions?.take(this.#sessionKey, nowMs);
    const use = { side: "client", resumes: sessions !== undefined } as const;
    const connection = nativeContextOf(openssl, material, use).open({
      fd,
      startedMs: nowMs,
      session: offered?.session,
      isServer: false,
      // Judged below, where the certificate can still be named in the message.
      verify: "if-given",
      alpn: alpn ?? context.plan.alpn,
      // An IP address is no server name (RFC 6066 §3).
      sni: sni === undefined || isIP(sni) !== 0 ? undefined : sni,
      first: undefined,
    });
    this.#sessions = sessions;
    this.#offered = offered;
    if (offered?.isSingleUse === true) offered.session.free();
    if (sessions !== undefined) this.#taker = new SessionTaker(sessions, this.#sessionKey);
    connection.onSession = this.#taker?.take;
    return connection;
  }

  #judge(connection: SslConnection, material: TlsMaterial, interest: number): void {
    const { context, sni } = this.#side;
    const verdict = judgePeer({
      facts: factsOf(connection, {
        keepsChain: context.plan.spiffe?.needsChain === true,
        hasSeveral: false,
      }),
      plan: context.plan,
      material,
      requiresCertificate: true,
      sni,
      verifyCode: verifyCodeOf(connection),
      server: this.#side,
    });
    if (verdict.kind === "refused") {
      this.#fail(verdict.failure, verdict.detail);
      return;
    }
    this.#connection = undefined;
    const { isResumed } = connection;
    context.counters.onHandshake(isResumed);
    const earlier = isResumed ? this.#offered : undefined;
    this.#taker?.accept(earlier?.validUntilMs ?? connection.acceptedUntilMs());
    this.#options.onSecure({ connection, session: verdict.session, interest });
  }

  #fail(kind: TlsFailureKind, detail: string): void {
    if (this.#offered !== undefined) this.#sessions?.forget(this.#sessionKey);
    const error = this.#failureOf(kind, detail);
    this.#side.context.fail(kind, error);
    this.#options.onFailure(error);
  }

  /** Frees the connection: its certificate is in the message. */
  #failureOf(kind: TlsFailureKind, detail: string): ChannelError {
    const connection = this.#connection;
    const certificate = connection === undefined ? undefined : peerCertificateOf(connection);
    connection?.free();
    this.#connection = undefined;
    const { sni } = this.#side;
    return describeFailure({ kind, peer: this.#options.peer, sni, certificate, detail });
  }
}

/** Keeps what a server gives: with TLS 1.2 during the handshake, before the server is accepted. */
class SessionTaker {
  readonly #sessions: ClientSessions<SslSession>;
  readonly #key: string;
  readonly #early: SslSession[] = [];
  #validUntilMs: number | undefined;

  constructor(sessions: ClientSessions<SslSession>, key: string) {
    this.#sessions = sessions;
    this.#key = key;
  }

  readonly take = (session: SslSession): void => {
    if (this.#validUntilMs === undefined) this.#early.push(session);
    else this.#keep(session, this.#validUntilMs);
  };

  accept(validUntilMs: number): void {
    this.#validUntilMs = validUntilMs;
    for (const session of this.#early.splice(0)) this.#keep(session, validUntilMs);
  }

  #keep(session: SslSession, validUntilMs: number): void {
    const { isSingleUse } = session;
    this.#sessions.put(this.#key, { session, validUntilMs, isSingleUse });
  }
}
