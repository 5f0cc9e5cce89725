/** What a handshake of Node's TLS came to, for the judge of peers. */
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";

import type { PeerFacts } from "./peer.ts";
import { readPeerCertificate } from "./peer-certificate.ts";

/** `peer`: of a client's resumed session it is not the socket that knows. */
export function nodeFactsOf(socket: TLSSocket, peer: X509Certificate | undefined): PeerFacts {
  const { alpnProtocol } = socket;
  return {
    certificate: peer === undefined ? undefined : readPeerCertificate(peer.raw),
    version: socket.getProtocol() ?? "",
    cipher: socket.getCipher().name,
    alpn: typeof alpnProtocol === "string" && alpnProtocol !== "" ? alpnProtocol : undefined,
  };
}
