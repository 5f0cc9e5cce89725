/** Codes of problems with PeerAuthentications. */
export const peerAuthenticationCodes: Readonly<Record<string, string>> = {
  "peerauthentication.duplicate-scope": "Two PeerAuthentications hold for the same workloads.",
  "peerauthentication.udp-closed": "A port of UDP asks for mutual TLS, and gets nothing.",
  "peerauthentication.ports-without-selector": "Modes of single ports need a selector.",
};
