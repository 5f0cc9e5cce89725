/** TLS on a connection we made, up to the verdict on the server. */
import type { Socket } from "node:net";
import { isIP } from "node:net";
import tls from "node:tls";

import { assert } from "../../base/assert.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ChannelError, TlsSession } from "../channel.ts";
import type { ClientTls } from "../dialler.ts";
import { ChannelStream } from "../channel-stream.ts";
import { remoteAddressOf } from "../portable/socket-channel.ts";
import { type ClientSessions, type KeptSession, sessionKeyOf } from "./client-sessions.ts";
import { type ClientSide, clientContexts } from "./context.ts";
import { describeFailure, kindOfHandshakeError, type TlsFailureKind } from "./failure.ts";
import type { TlsMaterial } from "./material.ts";
import { nodeFactsOf } from "./node-facts.ts";
import { judgePeer } from "./peer.ts";
import {
  portableSessionsOf,
  resumingClientContext,
  type ServerSession,
  SessionTaker,
  validUntilMs,
} from "./portable-sessions.ts";

export interface ClientHandshakeOptions {
  readonly socket: Socket | ChannelStream;
  /** Where it was dialled, for a socket that does not know. */
  readonly peer?: SocketAddress;
  readonly tls: ClientTls;
  /** By the wall clock. */
  readonly nowMs: number;
  /** Replaces the context's protocols. */
  readonly alpn: readonly string[] | undefined;
  readonly onSecure: (socket: tls.TLSSocket, session: TlsSession) => void;
  readonly onFailure: (error: ChannelError) => void;
}

export interface ClientHandshake {
  /**
   * The deadline has passed, or else nobody waits any longer, which is no failure of the server:
   * neither callback fires after this.
   */
  abort(hasTimedOut: boolean): void;
}

export function startClientHandshake(options: ClientHandshakeOptions): ClientHandshake {
  const side = clientContexts.get(options.tls);
  assert(side !== undefined, "a client TLS context of another make");
  const handshake = new Handshake(options, side);
  handshake.start();
  return handshake;
}

class Handshake implements ClientHandshake {
  readonly #options: ClientHandshakeOptions;
  readonly #side: ClientSide;
  readonly #peer: SocketAddress;
  readonly #sessionKey: string;
  #secured: tls.TLSSocket | undefined;
  #sessions: ClientSessions<ServerSession> | undefined;
  /** The one that is offered to the server. */
  #offered: KeptSession<ServerSession> | undefined;
  #taker: SessionTaker | undefined;
  #isSettled = false;

  constructor(options: ClientHandshakeOptions, side: ClientSide) {
    this.#options = options;
    this.#side = side;
    const { socket, peer } = options;
    const known = socket instanceof ChannelStream ? socket.remote : remoteAddressOf(socket);
    this.#peer = known.address === "" && peer !== undefined ? peer : known;
    this.#sessionKey = sessionKeyOf(this.#peer, side.sni);
  }

  start(): void {
    const material = this.#side.context.material();
    if (typeof material === "string") {
      this.#fail("no-secret", material);
      return;
    }
    const secured = this.#connect(material);
    this.#secured = secured;
    this.#taker?.listen(secured);
    secured.once("error", this.#onError);
    secured.once("close", this.#onClose);
    secured.once("end", this.#onClose);
    secured.once("secureConnect", () => this.#judge(secured, material));
  }

  abort(hasTimedOut: boolean): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    if (hasTimedOut) this.#side.context.fail("timeout", this.#failureOf("timeout", ""));
    this.#secured?.on("error", () => {}).destroy();
  }

  #connect(material: TlsMaterial): tls.TLSSocket {
    const { context, sni } = this.#side;
    const { socket, alpn, nowMs } = this.#options;
    const sessions = portableSessionsOf(this.#side, material);
    const offered = sessions?.take(this.#sessionKey, nowMs);
    this.#sessions = sessions;
    this.#offered = offered;
    if (sessions !== undefined) this.#taker = new SessionTaker(sessions, this.#sessionKey);
    return tls.connect({
      socket,
      secureContext: sessions === undefined ? material.context : resumingClientContext(material),
      ...(offered === undefined ? {} : { session: offered.session.ticket }),
      // An IP address is no server name (RFC 6066 §3).
      ...(sni === undefined || isIP(sni) !== 0 ? {} : { servername: sni }),
      ALPNProtocols: [...(alpn ?? context.plan.alpn)],
      // Judged below, where the certificate can still be named in the message.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
  }

  readonly #onError = (error: Error): void => {
    this.#fail(kindOfHandshakeError(error), codeOf(error));
  };

  readonly #onClose = (): void => this.#fail("closed", "");

  #judge(secured: tls.TLSSocket, material: TlsMaterial): void {
    if (this.#isSettled) return;
    const { context, sni } = this.#side;
    const verifyCode = secured.authorized ? undefined : String(secured.authorizationError);
    const isResumed = secured.isSessionReused();
    const earlier = isResumed ? this.#offered : undefined;
    const server = isResumed ? earlier?.session.server : secured.getPeerX509Certificate();
    const verdict = judgePeer({
      facts: nodeFactsOf(secured, server, {
        keepsChain: context.plan.spiffe?.needsChain === true,
        hasSeveral: false,
      }),
      plan: context.plan,
      material,
      requiresCertificate: true,
      sni,
      verifyCode,
      server: this.#side,
    });
    if (verdict.kind === "refused") {
      this.#fail(verdict.failure, verdict.detail);
      return;
    }
    this.#isSettled = true;
    secured.off("error", this.#onError);
    secured.off("close", this.#onClose);
    secured.off("end", this.#onClose);
    context.counters.onHandshake(isResumed);
    const untilMs = verifyCode === undefined ? validUntilMs(server) : 0;
    this.#taker?.accept(server, earlier?.validUntilMs ?? untilMs);
    this.#options.onSecure(secured, verdict.session);
  }

  #fail(kind: TlsFailureKind, detail: string): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    if (this.#offered !== undefined) this.#sessions?.forget(this.#sessionKey);
    const error = this.#failureOf(kind, detail);
    (this.#secured ?? this.#options.socket).on("error", () => {}).destroy();
    this.#side.context.fail(kind, error);
    this.#options.onFailure(error);
  }

  #failureOf(kind: TlsFailureKind, detail: string): ChannelError {
    const certificate = this.#secured?.getPeerX509Certificate();
    const { sni } = this.#side;
    return describeFailure({ kind, peer: this.#peer, sni, certificate, detail });
  }
}

function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
