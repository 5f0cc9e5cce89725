/**
 * Keys and trust anchors by name, for TLS contexts: the seam to whoever holds them (the agent's
 * SDS). A secret that is not there yet refuses handshakes; it never weakens them.
 */
export interface SecretSource {
  /** The current version of a secret; undefined until it has arrived. */
  get(name: string): TlsSecret | undefined;
  /** Calls `listener` after a secret has changed; returns how to stop. */
  onChange(listener: (name: string) => void): () => void;
  /** All that configuration refers to by now: nobody is told of other names any more. */
  keepOnly?(names: ReadonlySet<string>): void;
}

const filePrefixes = ["file-cert:", "file-root:", "file-crl:"];

/**
 * `file-cert:CHAIN~KEY` or `file-root:AUTHORITIES`, as Istio names what lies in files; and `file-crl:LIST`,
 * which it has no name for.
 */
export function isFileSecret(name: string): boolean {
  return filePrefixes.some((prefix) => name.startsWith(prefix));
}

/** What a list of revocations in a file is called; undefined where it lies in none that can be named. */
export function revocationsSecret(filename: string | undefined): string | undefined {
  return filename?.startsWith("/") === true ? `file-crl:${filename}` : undefined;
}

export type TlsSecret =
  /** Our own identity (`default`): leaf first, then intermediates; PKCS#8 or SEC1 key. */
  | { readonly kind: "certificate"; readonly chainPem: string; readonly privateKeyPem: string }
  /** What peers must chain to (`ROOTCA`): one or more PEM certificates; and what was taken back of it. */
  | { readonly kind: "validation"; readonly trustedCaPem: string; readonly crlPem?: string }
  /** What was taken back, where that lies apart from what peers must chain to: one or more PEM lists. */
  | { readonly kind: "revocations"; readonly crlPem: string }
  /** What session tickets are sealed with, 80 bytes each: the first seals, all open. */
  | { readonly kind: "ticket-keys"; readonly keys: readonly Uint8Array[] };
