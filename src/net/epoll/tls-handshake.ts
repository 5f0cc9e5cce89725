/** A TLS handshake on a descriptor, either side, up to where the peer can be judged. */
import { X509Certificate } from "node:crypto";
import os from "node:os";

import type { TlsMaterial } from "../tls/material.ts";
import type { TlsFailureKind } from "../tls/failure.ts";
import { kindOfHandshakeError } from "../tls/failure.ts";
import type { FurtherFacts } from "../tls/node-facts.ts";
import type { PeerFacts } from "../tls/peer.ts";
import { readPeerCertificate } from "../tls/peer-certificate.ts";
import { wantsWrite } from "./byte-stream.ts";
import type { OpenSsl, SslContext, SslUse } from "./native/openssl.ts";
import type { SslConnection } from "./native/ssl-connection.ts";
import { readable, type Reactor, type Watched, writable } from "./reactor.ts";
import { errorName, sslErrorCode } from "./socket-address.ts";

const { EAGAIN, EPROTO } = os.constants.errno;

export interface HandshakeOptions {
  readonly reactor: Reactor;
  readonly fd: number;
  /** What the descriptor is watched for; undefined where it is not watched. */
  readonly interest: number | undefined;
  readonly connection: SslConnection;
  /** Watched for `interest` by whoever takes over. */
  readonly onDone: (interest: number) => void;
  readonly onFailure: (kind: TlsFailureKind, detail: string) => void;
  readonly onFault: (thrown: unknown) => void;
}

export class EpollHandshake implements Watched {
  readonly #options: HandshakeOptions;
  #interest: number | undefined;
  #isSettled = false;

  constructor(options: HandshakeOptions) {
    this.#options = options;
    this.#interest = options.interest;
    if (this.#interest !== undefined) options.reactor.handOver(options.fd, this);
  }

  onEvents(): void {
    this.step();
  }

  onFault(thrown: unknown): void {
    this.#options.onFault(thrown);
  }

  /** As far as it goes now; either callback may fire within the call. */
  step(): void {
    if (this.#isSettled) return;
    const { connection, onDone } = this.#options;
    const status = connection.handshake();
    if (status === -EAGAIN) return this.#arm(readable);
    if (status === wantsWrite) return this.#arm(readable | writable);
    if (status !== 0) return this.#fail(status);
    this.#arm(readable);
    if (this.#isSettled) return;
    this.#isSettled = true;
    onDone(readable);
  }

  /** Neither callback fires after this. */
  abort(): void {
    this.#isSettled = true;
  }

  #arm(interest: number): void {
    if (interest === this.#interest) return;
    const { reactor, fd } = this.#options;
    if (this.#interest === undefined) {
      const status = reactor.add(fd, this, interest);
      if (status < 0) return this.#fail(status);
    } else {
      reactor.modify(fd, interest);
    }
    this.#interest = interest;
  }

  #fail(status: number): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    const { connection, onFailure } = this.#options;
    if (status !== -EPROTO) {
      onFailure("closed", errorName(status));
      return;
    }
    const code = sslErrorCode(connection.detail);
    onFailure(kindOfHandshakeError(Object.assign(new Error(code), { code })), code);
  }
}

interface Made {
  readonly use: SslUse;
  readonly context: SslContext;
}

const contexts = new WeakMap<TlsMaterial, Made[]>();

/** Made of the same parts as the material's own context, when it is first needed for this use. */
export function nativeContextOf(openssl: OpenSsl, material: TlsMaterial, use: SslUse): SslContext {
  const made = contexts.get(material) ?? [];
  const known = made.find((other) => isSameUse(other.use, use));
  if (known !== undefined) return known.context;
  const context = openssl.createContext(material.parts, use);
  made.push({ use, context });
  contexts.set(material, made);
  return context;
}

function isSameUse(one: SslUse, other: SslUse): boolean {
  return one.side === "client"
    ? other.side === "client" && one.resumes === other.resumes
    : other.side === "server" && one.ticketsForS === other.ticketsForS;
}

/** `keepsChain`: what the peer sent behind its certificate is kept. */
export function factsOf(
  connection: SslConnection,
  { keepsChain, hasSeveral }: FurtherFacts,
): PeerFacts {
  const { peerCertificate, version, cipher, alpnProtocol } = connection;
  const certificate =
    peerCertificate === undefined ? undefined : readPeerCertificate(peerCertificate);
  const issuersDer = keepsChain ? connection.peerIssuers() : undefined;
  const ownDer = hasSeveral ? connection.ownCertificate : undefined;
  return { certificate, issuersDer, ownDer, version, cipher, alpn: alpnProtocol };
}

export function peerCertificateOf(connection: SslConnection): X509Certificate | undefined {
  const der = connection.peerCertificate;
  return der === undefined ? undefined : new X509Certificate(Buffer.from(der));
}

/** Of X509_V_ERR_…, as Node names them; numbers that are not here refuse the peer all the same. */
const verifyCodes: Readonly<Record<number, string>> = {
  2: "UNABLE_TO_GET_ISSUER_CERT",
  3: "UNABLE_TO_GET_CRL",
  7: "CERT_SIGNATURE_FAILURE",
  8: "CRL_SIGNATURE_FAILURE",
  9: "CERT_NOT_YET_VALID",
  10: "CERT_HAS_EXPIRED",
  11: "CRL_NOT_YET_VALID",
  12: "CRL_HAS_EXPIRED",
  18: "DEPTH_ZERO_SELF_SIGNED_CERT",
  19: "SELF_SIGNED_CERT_IN_CHAIN",
  20: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  21: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  22: "CERT_CHAIN_TOO_LONG",
  23: "CERT_REVOKED",
  24: "INVALID_CA",
  26: "INVALID_PURPOSE",
  27: "CERT_UNTRUSTED",
  28: "CERT_REJECTED",
};

/** Undefined when the chain verified. */
export function verifyCodeOf({ verifyResult }: SslConnection): string | undefined {
  if (verifyResult === 0) return undefined;
  return verifyCodes[verifyResult] ?? `X509_V_ERR_${verifyResult}`;
}
