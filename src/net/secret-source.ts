/**
 * Keys and trust anchors by name, for TLS contexts: the seam to whoever holds them (the agent's
 * SDS). A secret that is not there yet refuses handshakes; it never weakens them.
 */
export interface SecretSource {
  /** The current version of a secret; undefined until it has arrived. */
  get(name: string): TlsSecret | undefined;
  /** Calls `listener` after a secret has changed; returns how to stop. */
  onChange(listener: (name: string) => void): () => void;
}

/** `file-cert:CHAIN~KEY` or `file-root:AUTHORITIES`: it lies in files, as Istio names those. */
export function isFileSecret(name: string): boolean {
  return name.startsWith("file-cert:") || name.startsWith("file-root:");
}

export type TlsSecret =
  /** Our own identity (`default`): leaf first, then intermediates; PKCS#8 or SEC1 key. */
  | { readonly kind: "certificate"; readonly chainPem: string; readonly privateKeyPem: string }
  /** What peers must chain to (`ROOTCA`): one or more PEM certificates; and what was taken back of it. */
  | { readonly kind: "validation"; readonly trustedCaPem: string; readonly crlPem?: string }
  /** What session tickets are sealed with, 80 bytes each: the first seals, all open. */
  | { readonly kind: "ticket-keys"; readonly keys: readonly Uint8Array[] };
