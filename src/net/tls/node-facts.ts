/** What a handshake of Node's TLS came to, for the judge of peers. */
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";

import type { PeerFacts } from "./peer.ts";
import { readPeerCertificate } from "./peer-certificate.ts";

/**
 * `peer`: of a client's resumed session it is not the socket that knows. `keepsChain`: what the peer
 * sent behind its certificate is kept.
 */
export function nodeFactsOf(
  socket: TLSSocket,
  peer: X509Certificate | undefined,
  keepsChain = false,
): PeerFacts {
  const { alpnProtocol } = socket;
  return {
    certificate: peer === undefined ? undefined : readPeerCertificate(peer.raw),
    issuersDer: keepsChain && peer !== undefined ? issuersOf(peer) : undefined,
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
