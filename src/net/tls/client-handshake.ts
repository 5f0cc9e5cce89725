/** TLS on a connection we made, up to the verdict on the server. */
import type { Socket } from "node:net";
import { isIP } from "node:net";
import tls from "node:tls";

import { assert } from "../../base/assert.ts";
import type { ChannelError, TlsSession } from "../channel.ts";
import type { ClientTls } from "../dialler.ts";
import { remoteAddressOf } from "../portable/socket-channel.ts";
import { clientContexts } from "./context.ts";
import { describeFailure, kindOfHandshakeError, type TlsFailureKind } from "./failure.ts";
import { judgePeer } from "./peer.ts";

export interface ClientHandshakeOptions {
  readonly socket: Socket;
  readonly tls: ClientTls;
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
  const { socket } = options;
  const side = clientContexts.get(options.tls);
  assert(side !== undefined, "a client TLS context of another make");
  const { context, sni } = side;
  const peer = remoteAddressOf(socket);
  const material = context.material();
  let isSettled = false;
  const fail = (kind: TlsFailureKind, detail: string, secured?: tls.TLSSocket): void => {
    if (isSettled) return;
    isSettled = true;
    const certificate = secured?.getPeerX509Certificate();
    (secured ?? socket).on("error", () => {}).destroy();
    const error = describeFailure({ kind, peer, sni, certificate, detail });
    context.fail(kind, error);
    options.onFailure(error);
  };
  if (typeof material === "string") {
    fail("no-secret", material);
    return { abort: () => {} };
  }
  const secured = tls.connect({
    socket,
    secureContext: material.context,
    // An IP address is no server name (RFC 6066 §3).
    ...(sni === undefined || isIP(sni) !== 0 ? {} : { servername: sni }),
    ALPNProtocols: [...(options.alpn ?? context.plan.alpn)],
    // Judged below, where the certificate can still be named in the message.
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  });
  const onError = (error: Error): void => fail(kindOfHandshakeError(error), codeOf(error), secured);
  const onClose = (): void => fail("closed", "", secured);
  secured.once("error", onError);
  secured.once("close", onClose);
  secured.once("end", onClose);
  secured.once("secureConnect", () => {
    if (isSettled) return;
    const verifyCode = secured.authorized ? undefined : String(secured.authorizationError);
    const verdict = judgePeer({
      socket: secured,
      plan: context.plan,
      material,
      requiresCertificate: true,
      sni,
      verifyCode,
    });
    if (verdict.kind === "refused") {
      fail(verdict.failure, verdict.detail, secured);
      return;
    }
    isSettled = true;
    secured.off("error", onError);
    secured.off("close", onClose);
    secured.off("end", onClose);
    context.counters.onHandshake();
    options.onSecure(secured, verdict.session);
  });
  return {
    abort: (hasTimedOut) => {
      if (isSettled) return;
      isSettled = true;
      if (hasTimedOut) {
        const kind = "timeout";
        const certificate = secured.getPeerX509Certificate();
        context.fail(kind, describeFailure({ kind, peer, sni, certificate, detail: "" }));
      }
      secured.on("error", () => {}).destroy();
    },
  };
}

function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
