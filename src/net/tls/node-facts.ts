/** What a handshake of Node's TLS came to, for the judge of peers. */
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";

import type { PeerFacts } from "./peer.ts";
import { readPeerCertificate } from "./peer-certificate.ts";

/** What is wanted of a handshake that most do not look at. */
export interface FurtherFacts {
  /** What the peer sent behind its certificate is kept. */
  readonly keepsChain: boolean;
  /** We have several certificates. */
  readonly hasSeveral: boolean;
}

/** `peer`: of a client's resumed session it is not the socket that knows. */
export function nodeFactsOf(
  socket: TLSSocket,
  peer: X509Certificate | undefined,
  { keepsChain, hasSeveral }: FurtherFacts,
): PeerFacts {
  const { alpnProtocol } = socket;
  return {
    certificate: peer === undefined ? undefined : readPeerCertificate(peer.raw),
    issuersDer: keepsChain && peer !== undefined ? issuersOf(peer) : undefined,
    ownDer: hasSeveral ? socket.getX509Certificate()?.raw : undefined,
    version: socket.getProtocol() ?? "",
    cipher: socket.getCipher().name,
    alpn: typeof alpnProtocol === "string" && alpnProtocol !== "" ? alpnProtocol : undefined,
  };
}

/** As they were sent: Node reads them off the connection, not out of the trust anchors. */
function issuersOf(peer: X509Certificate): readonly Uint8Array[] {
  const issuers: Uint8Array[] = [];
  for (let at = peer.issuerCertificate; at !== undefined; at = at.issuerCertificate) {
    issuers.push(at.raw);
  }
  return issuers;
}
